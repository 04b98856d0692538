"""The choice of QEMU's accelerator: KVM where it works, otherwise emulation and a notice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from microvm import cache, start
from microvm.arches import ACCELERATORS, Accel
from microvm.errors import BootError, CacheError, QemuError
from microvm.log import Area
from microvm.options import Accelerator
from microvm.qemu import accel as accels
from microvm.qemu.launch import find_qemu

_logger = Area("qemu")

# Maximum number of characters of the reason in a notice that is not shortened. QEMU's assertions
# have 200 characters, and the user can do nothing about them.
_LONGEST_REASON = 80


class AcceleratorChoice:
    """The choice of the accelerators, KVM or emulation, for one start. It records if KVM works.

    :param arch: Architecture of the guest.
    :param notify: Function that is called with a notice for the user if KVM is not used.
    :ivar candidates: Accelerators to try, in this order.
    :raises QemuError: If QEMU is not installed, or the requested accelerator cannot be used.
    """

    def __init__(self, requested: Accelerator, arch: str, notify: Callable[[str], None]) -> None:
        self._requested = requested
        self._arch = arch
        self._notify = notify
        self._probes = accels.ProbeCache(cache.root(), find_qemu(arch))
        self.candidates = self._find()

    def _find(self) -> tuple[Accel, ...]:
        return accels.candidates(self._requested, arch=self._arch, probes=self._probes)

    def timeout(self, accel: Accel) -> float:
        """Return the maximum number of seconds for a boot with this accelerator."""
        is_trial = accel != self.candidates[-1]
        return accels.TRIAL_TIMEOUT if is_trial else accels.BOOT_TIMEOUT

    @asynccontextmanager
    async def trying_alone(self) -> AsyncIterator[None]:
        """Context manager: no other start tries KVM until it is known whether KVM works.

        The block contains a whole start, because its result shows whether KVM works. Other starts
        wait for the block to end, and then use the result.
        """
        async with AsyncExitStack() as held:
            if len(self.candidates) > 1:
                path, purpose = self._probes.path, "finds out whether KVM works"
                # If no lock can be created, as in a read-only cache, each start tries KVM itself.
                with suppress(CacheError):
                    await held.enter_async_context(start.lock_held(path, purpose, self._notify))
                self.candidates = self._find()
                if len(self.candidates) == 1:
                    await held.aclose()
            yield

    def explain(self) -> None:
        """Notify the user why KVM cannot be used, at most once a day."""
        if self._requested != "auto" or not ACCELERATORS[self.candidates[0]].emulates:
            return
        if self._probes.recall() is False:
            return  # the start that tried KVM has notified the user
        obstacle = accels.obstacle(self._arch)
        notified = self._probes._replace(subject="obstacle")
        if obstacle is not None and obstacle.failure.told and notified.recall() is None:
            notified.remember(works=False)
            self._notify(accels.fallback_notice(obstacle.text, obstacle.hint))

    def failed(self, error: QemuError | BootError) -> bool:
        """Record that the start failed with the accelerator that was tried last.

        If QEMU has exited, and KVM is not known to work on this host, replace the error's hint,
        because another start would fail in the same way.

        :return: True if KVM worked before, and the caller should start the machine again by a new
            choice, which tests KVM anew.
        """
        failure = start.failure_of_start(error)
        if ACCELERATORS[self.candidates[-1]].emulates or not failure.remembered:
            return False
        if self._probes.recall() is True:
            self._probes.forget()
            # If the image may be the cause, do not repeat the start, because it may fail again.
            of_kvm = failure in (start.REFUSED, start.INTERNAL_ERROR)
            return of_kvm and self._requested == "auto" and self._probes.recall() is None
        if failure is start.REFUSED:
            error.hint = "use --accel tcg, which does not need KVM; `microvm doctor` checks KVM"
        return False

    def succeeded(self, accel: Accel, error: QemuError | BootError | None) -> None:
        """Record that a start succeeded with this accelerator; if KVM failed, notify the user.

        :param error: Error of the first accelerator that was tried, or None if it did not fail.
        """
        if not ACCELERATORS[accel].emulates:
            if self._probes.recall() is not True:
                self._probes.remember(works=True)
        elif error is not None:
            failure = start.failure_of_start(error)
            hint = ""
            if failure.remembered:
                hint = "`microvm doctor` shows why"
                self._probes.remember(works=False, lifetime=failure.remembered)
            tried = self.candidates[0]
            _logger.info("%s failed: %s", tried.upper(), error.message)
            self._notify(accels.fallback_notice(failure.line(_short(error.message), tried), hint))


def _short(reason: str) -> str:
    """Return the reason of a failure without details, such as the last line that QEMU printed."""
    return reason if len(reason) <= _LONGEST_REASON else reason.partition(": ")[0]
