"""Starting machines by booting or cloning, and saving them as templates or snapshots.

The names in `_SOURCES` are imported at their first use, because a start first launches QEMU, and
imports asyncio and most modules while the guest boots. Use them as `start.NAME`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tempfile import TemporaryFile as TemporaryFile

    from microvm.cache.async_lock import held as lock_held
    from microvm.qemu.kvm_failure import failure_of_start as failure_of_start
    from microvm.start.retry import is_worthwhile as is_worthwhile
    from microvm.start.running_vm import RunningVM as RunningVM
    from microvm.start.warmup import prepare_guest as prepare_guest

    __all__ = ["lock_held"]

_SOURCES = {
    "RunningVM": ("microvm.start.running_vm", "RunningVM"),
    "TemporaryFile": ("tempfile", "TemporaryFile"),
    "failure_of_start": ("microvm.qemu.kvm_failure", "failure_of_start"),
    "is_worthwhile": ("microvm.start.retry", "is_worthwhile"),
    "lock_held": ("microvm.cache.async_lock", "held"),
    "prepare_guest": ("microvm.start.warmup", "prepare_guest"),
}


def __getattr__(name: str) -> object:
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _SOURCES[name]
    __import__(module)
    return getattr(sys.modules[module], attribute)
