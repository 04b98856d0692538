"""The choice of an accelerator: the hardware where it works, and one line where it does not."""

from __future__ import annotations

from collections.abc import Callable

from microvm import cache
from microvm.arches import Accel
from microvm.errors import BootError, QemuError
from microvm.options import Accelerator
from microvm.qemu import accel as accels
from microvm.qemu.launch import find_qemu


class Choice:
    """A choice for one start, and what is learnt from it.

    :param requested: what the user wants.
    :param arch: the guest's architecture.
    :param notify: called with a line where the hardware is not used.
    :ivar candidates: what to try, in this order.
    :raises QemuError: QEMU is not installed, or what it needs is not.
    :raises UsageError: this host cannot run what was asked for.
    """

    def __init__(self, requested: Accelerator, arch: str, notify: Callable[[str], None]) -> None:
        self._requested = requested
        self._arch = arch
        self._notify = notify
        self._probes = accels.ProbeCache(cache.root(), find_qemu(arch))
        self.candidates = accels.candidates(requested, arch=arch, probes=self._probes)

    def explain(self) -> None:
        """Notify why the hardware cannot be used, if not, unless that was done within a day."""
        if self._requested != "auto" or self.candidates != ("tcg",):
            return
        if self._probes.recall() is False:
            return  # it was tried, and that was said
        obstacle = accels.obstacle(self._arch)
        notified = self._probes._replace(subject="obstacle")
        if obstacle is not None and not obstacle.expected and notified.recall() is None:
            notified.remember(works=False)
            self._notify(accels.fallback_notice(obstacle.text, obstacle.hint))

    def failed(self, error: QemuError | BootError) -> None:
        """Take note that nothing has worked: the last one failed like this."""
        if self.candidates[-1] != "tcg" and accels.is_hardware_failure(error):
            self._probes.forget()  # it did work; the next start finds out

    def succeeded(
        self, accel: Accel, failure: QemuError | BootError | None, *, within: float
    ) -> None:
        """Take note that a start has worked, and notify why it was not with the first candidate.

        :param failure: how those before it have failed, if there were any.
        :param within: the seconds that this one took.
        """
        if accel != "tcg":
            if self._probes.recall() is not True:
                self._probes.remember(works=True)
        elif failure is not None:
            self._report(self.candidates[0], failure, within)

    def _report(self, accel: Accel, failure: QemuError | BootError, within: float) -> None:
        hint = "--accel kvm shows why"
        if accels.is_broken(failure, within=within):
            self._probes.remember(works=False)
            self._notify(accels.fallback_notice(f"{accel.upper()} does not work here", hint))
        else:
            self._notify(accels.fallback_notice(f"no {accel.upper()} this time: {failure.message}"))
