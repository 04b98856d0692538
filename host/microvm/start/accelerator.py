"""The choice of an accelerator: the hardware where it works, and one line where it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from microvm import cache
from microvm.arches import Accel
from microvm.errors import BootError, ImageError, QemuError
from microvm.options import Accelerator
from microvm.qemu import accel as accels
from microvm.qemu.launch import find_qemu


class AcceleratorChoice:
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
        self.candidates = self._find()

    def _find(self) -> tuple[Accel, ...]:
        return accels.candidates(self._requested, arch=self._arch, probes=self._probes)

    def timeout(self, accel: Accel) -> float:
        """Return the maximum number of seconds for a boot under one of the accelerators to try."""
        is_trial = accel != self.candidates[-1]
        return accels.TRIAL_TIMEOUT if is_trial else accels.BOOT_TIMEOUT

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        """Prevent two starts from trying the hardware at once, while nobody knows whether it works.

        If another start is trying it, wait for that start and use its result. The block is a whole
        start, because the result is known only when the start is done.
        """
        async with AsyncExitStack() as held:
            if len(self.candidates) > 1:
                from microvm.cache import async_lock

                path, purpose = self._probes.path, "finds out whether KVM works"
                # If the lock cannot be taken, as in a read-only cache, this start tries the
                # hardware, too.
                with suppress(ImageError):
                    await held.enter_async_context(async_lock.held(path, purpose, self._notify))
                self.candidates = self._find()
                if len(self.candidates) == 1:
                    await held.aclose()
            yield

    def explain(self) -> None:
        """Notify why the hardware cannot be used, if not, unless that was done within a day."""
        if self._requested != "auto" or self.candidates != ("tcg",):
            return
        if self._probes.recall() is False:
            return  # it was tried, and that was said
        obstacle = accels.obstacle(self._arch)
        notified = self._probes._replace(subject="obstacle")
        if obstacle is not None and obstacle.failure.told and notified.recall() is None:
            notified.remember(works=False)
            self._notify(accels.fallback_notice(obstacle.text, obstacle.hint))

    def failed(self, error: QemuError | BootError) -> None:
        """Take note that nothing has worked: the last one failed like this."""
        from microvm.qemu import kvm_failure

        if self.candidates[-1] != "tcg" and kvm_failure.failure_of_start(error).remembered:
            self._probes.forget()  # it did work; the next start finds out

    def succeeded(self, accel: Accel, error: QemuError | BootError | None) -> None:
        """Note that a start has succeeded; notify the user if the first candidate had failed.

        :param error: the error of the candidate before it, if there was one.
        """
        if accel != "tcg":
            if self._probes.recall() is not True:
                self._probes.remember(works=True)
        elif error is not None:
            from microvm.qemu import kvm_failure

            failure = kvm_failure.failure_of_start(error)
            hint = ""
            if failure.remembered:
                hint = "--accel kvm shows why"
                self._probes.remember(works=False, lifetime=failure.remembered)
            self._notify(
                accels.fallback_notice(failure.line(error.message, self.candidates[0]), hint)
            )
