"""The baseline of the benchmark: plain QEMU with a minimal guest, without framing and limits.

The guest has the same kernel, file system, CPU model and kernel command line as the image that it
is compared with. Only its first process differs, and is compiled for the benchmark. If the file
system is on a disk, the `init` of the image mounts it, and then executes that process. QEMU has its
default devices, and is neither confined nor supervised.
"""

from __future__ import annotations

from microvm.bench.baseline.baseline import Baseline

__all__ = ["Baseline"]
