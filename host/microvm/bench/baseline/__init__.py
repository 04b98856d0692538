"""The benchmark's baseline: plain QEMU with a minimal guest, without microvm's protocol and limits.

The guest has the same kernel, file system, CPU model and kernel command line as the image that it
is compared with. Only its first process is another program, which the benchmark compiles. If the
file system is on a disk, the image's `init` mounts it, and then executes that program. QEMU has its
default devices, and is neither confined nor supervised.
"""

from __future__ import annotations

from microvm.bench.baseline.baseline import Baseline

__all__ = ["Baseline"]
