"""Starting machines by booting or cloning, and saving them as templates or snapshots.

Some names of this package are imported at their first use, as `start.NAME`, because a start first
launches QEMU, and imports asyncio and most modules while the guest boots.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tempfile import TemporaryFile as TemporaryFile

    from microvm.cache.async_lock import held as lock_held
    from microvm.qemu.kvm_failure import INTERNAL_ERROR as INTERNAL_ERROR
    from microvm.qemu.kvm_failure import REFUSED as REFUSED
    from microvm.qemu.kvm_failure import failure_of_start as failure_of_start
    from microvm.start.retry import is_worthwhile as is_worthwhile
    from microvm.start.running_vm import RunningVM as RunningVM
    from microvm.start.warmup import prepare_guest as prepare_guest

    __all__ = ["lock_held"]


def lazy_names(package: str, sources: dict[str, str]) -> Callable[[str], object]:
    """Return the function `__getattr__` of a package, which imports names at their first use.

    :param sources: Source of each name: a module, a colon, and a name in it; or a module alone.
    """

    def load(name: str) -> object:
        if name not in sources:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module, _, attribute = sources[name].partition(":")
        __import__(module)
        return getattr(sys.modules[module], attribute) if attribute else sys.modules[module]

    return load


__getattr__ = lazy_names(
    __name__,
    {
        "INTERNAL_ERROR": "microvm.qemu.kvm_failure:INTERNAL_ERROR",
        "REFUSED": "microvm.qemu.kvm_failure:REFUSED",
        "RunningVM": "microvm.start.running_vm:RunningVM",
        "TemporaryFile": "tempfile:TemporaryFile",
        "failure_of_start": "microvm.qemu.kvm_failure:failure_of_start",
        "is_worthwhile": "microvm.start.retry:is_worthwhile",
        "lock_held": "microvm.cache.async_lock:held",
        "prepare_guest": "microvm.start.warmup:prepare_guest",
    },
)
