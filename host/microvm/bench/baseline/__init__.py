"""The baseline of the benchmark: plain QEMU with a minimal guest, without framing and limits.

It runs the same kernel and file system, on the same machine, CPU model and kernel command line as
the image beside it, with its own first process, which is compiled for the purpose; where the file
system is on a disk, the image's `init` mounts it as for us, and then becomes that process. QEMU's
devices are as they come, and it is neither confined nor watched.
"""

from __future__ import annotations

from microvm.bench.baseline.baseline import Baseline

__all__ = ["Baseline"]
