"""The public class `MicroVM`: a virtual machine, its start, its commands, and its end."""

from __future__ import annotations

import os
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from microvm.arches import Accel
from microvm.concurrency.threads import in_stoppable_thread
from microvm.errors import BootError, ConfinementError, MachineError, QemuError, UsageError
from microvm.images import readymade
from microvm.log import Area
from microvm.machine.base import Machine
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions, document_options, parse_options
from microvm.options import Accelerator, Confinement, MachineOptions
from microvm.qemu import launcher
from microvm.qemu.launch import launch_errors
from microvm.start import origin
from microvm.start.accelerator import AcceleratorChoice
from microvm.start.starter import Starter
from microvm.system import capacity

# The rest is imported when a machine starts, so that `_launch_early` can come before it.
if TYPE_CHECKING:
    from microvm.guest.guest import Guest
    from microvm.images import Image
    from microvm.start.restorer import Restorer
    from microvm.start.running_vm import RunningVM, StartTimes
    from microvm.supervisor.client.attached import AttachedVM

_logger = Area("start")


class MicroVM(Machine):
    """A machine that is started, runs commands one at a time, and is thrown away.

    ::

        async with MicroVM() as vm:
            result = await vm.run(["echo", "hello"])

    The first start of an image in a configuration boots a guest and saves it as a template; later
    ones are clones of that.

    :ivar memory: of the guest, in bytes.
    :ivar cpus: how many the guest has.
    :ivar disk: the room for what the guest writes, in bytes; 0: half of its memory.
    :ivar confinement: as it was asked for.
    :ivar accel: what it runs under, once it has started.
    :ivar cloned: whether it is a clone.
    """

    @document_options(MachineOptions)
    def __init__(
        self,
        image: Image | Snapshot | str | Path | None = None,
        **options: Unpack[MachineOptions],
    ) -> None:
        """Check the options; nothing is started.

        :param image: an image, its tag, name or folder; by default the one for this host. That and
            a ready-made one, such as `python`, are built if there is none. A snapshot in its place
            is where the machine goes on from, with the options of the machine that it is of.
        :raises UsageError: for a value that cannot be, or that this host has not got.
        """
        self._configure(image, parse_options(MachineOptions, options, "MicroVM"))

    @classmethod
    def _from_options(
        cls, image: Image | Snapshot | str | Path | None, options: ParsedOptions
    ) -> Self:
        """Create a machine with options that are already checked."""
        machine = cls.__new__(cls)
        machine._configure(image, options)
        return machine

    def _configure(
        self, image: Image | Snapshot | str | Path | None, options: ParsedOptions
    ) -> None:
        self._snapshot = image if isinstance(image, Snapshot) else None
        if self._snapshot is not None:
            options = self._snapshot._options_of_clone(options)
        capacity.check(memory=options["memory"], cpus=options["cpus"])
        self._given_image = None if isinstance(image, Snapshot) else image
        self._image: Image
        self.memory: int = options["memory"]
        self.cpus: int = options["cpus"]
        self.disk: int = options["disk"]
        self._requested: Accelerator = options["accel"]
        self.confinement: Confinement = options["confinement"]
        self._cold: bool = options["cold"]
        self._console_log: Path | None = options.get("console")
        self._on_notice: Callable[[str], None] = options["notify"]
        self._state = "new"
        self._starter: Starter | None = None
        self._restorer: Restorer | None = None
        self._running: RunningVM | None = None
        self._finalizer: weakref.finalize[..., MicroVM] | None = None
        self.accel: str = self._requested
        self.cloned = False

    def __repr__(self) -> str:
        state = "dead" if self._running and self._running.guest.error else self._state
        given = self._snapshot.image if self._snapshot else self._given_image
        image = f" of {getattr(given, 'name', given)}" if given else ""
        pid = f", QEMU is process {self.pid}" if self._running else ""
        return f"<{type(self).__name__}{image}: {state}, {self.accel}{pid}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None when the machine is not up."""
        return self._running.qemu.pid if self._running else None

    @property
    def _start_times(self) -> StartTimes | None:
        """The moments of the start, or None when the machine is not up."""
        return self._running.times if self._running else None

    @property
    def image(self) -> Image:
        """The image that it runs, once it has started."""
        return self._image

    def _launch_early(self) -> None:
        """Spawn QEMU early, unless a guest is to be saved first; `start` goes on from there.

        It saves the time that importing the rest of this library takes. Who calls it must call
        `start` or `stop`. What is wrong with QEMU's start is for `start` to say.

        :raises ImageError: there is no such image.
        :raises SnapshotError: the snapshot cannot be used.
        :raises QemuError: QEMU is not installed, or what it needs is not.
        :raises UsageError: this host cannot run what was asked for.
        """
        with launch_errors():
            self._launch_qemu()

    def _launch_qemu(self) -> None:
        if self._state == "new" and self._snapshot is not None:
            self._restorer = self._snapshot._make_restorer(self._console_log, self.confinement)
            self._restorer.launch()
            return
        given = self._given_image
        if self._state != "new" or given is None or readymade.is_missing(given):
            return
        image = self._given_image = readymade.load(given)
        choice = self._choose(image)
        if len(choice.candidates) == 1:
            accel = choice.candidates[0]
            self._starter = self._make_starter(image, accel, choice.timeout(accel))
            self._starter.launch(cold=self._cold or not image.is_ours)

    async def start(self) -> None:
        """Bring the guest up, by cloning or by booting, and wait until it is ready.

        :raises UsageError: it has been started before, no event loop of asyncio runs here, or the
            console's file cannot be opened.
        :raises ImageError: there is no image, and none can be built.
        :raises SnapshotError: the snapshot is gone, is damaged, or does not fit what is here.
        :raises QemuError: QEMU is missing, or does not start.
        :raises ConfinementError: it cannot be confined as it must be.
        :raises BootError: the guest did not become ready; its `detail` has the console's end.
        :raises ProtocolError: what answered is not our guest.
        """
        from microvm.concurrency.tasks import running_loop

        if self._state != "new":
            raise UsageError("a machine is started once; make another")
        running_loop("machine")
        self._state = "starting"
        with launch_errors():
            await self._start()

    async def _start(self) -> None:
        if not launcher.is_ready():
            await in_stoppable_thread(launcher.find)
        if self._snapshot is not None:
            await self._restore(self._snapshot)
            return
        image = self._image = await readymade.find_or_build(self._given_image, self._notify)
        choice = self._choose(image)
        async with choice.trying_alone():
            await self._start_chosen(image, choice)

    async def _start_chosen(self, image: Image, choice: AcceleratorChoice) -> None:
        choice.explain()
        cold = self._cold or not image.is_ours
        if cold and not self._cold:
            self._notify(f"{image.path} can be changed by others; booting, and saving no template")
        failure: QemuError | BootError | None = None
        for accel in choice.candidates:
            made = self._starter or self._make_starter(image, accel, choice.timeout(accel))
            starter, self._starter = made, None
            self.accel = accel
            try:
                running = await (starter.boot() if cold else starter.clone())
            except ConfinementError:
                raise
            except (QemuError, BootError) as error:
                if accel == choice.candidates[-1]:
                    choice.failed(error)
                    raise
                failure = error
                continue
            finally:
                starter.end()
            self._begin(running, cloned=starter.cloned)
            choice.succeeded(accel, failure)
            return

    async def _restore(self, snapshot: Snapshot) -> None:
        restorer, self._restorer = self._restorer, None
        restorer = restorer or snapshot._make_restorer(self._console_log, self.confinement)
        self._image = restorer.image
        self._begin(await restorer.clone(), cloned=True)

    def _begin(self, running: RunningVM, *, cloned: bool) -> None:
        self._running = running
        self._state = "running"
        self._finalizer = weakref.finalize(self, _dropped, running, os.getpid())
        self.cloned = cloned
        _logger.info(
            "%s under %s, QEMU is process %d, ready %.0f ms after its start",
            "cloned" if cloned else "booted",
            self.accel.upper(),
            self.pid,
            1000 * (running.times.ready - running.times.begun),
        )

    def _notify(self, text: str) -> None:
        _logger.warning("%s", text)
        self._on_notice(text)

    def _choose(self, image: Image) -> AcceleratorChoice:
        return AcceleratorChoice(self._requested, image.manifest.arch, self._notify)

    def _make_starter(self, image: Image, accel: Accel, timeout: float) -> Starter:
        _logger.info(
            "image %s, %d MiB, CPUs: %d, %s",
            image.name,
            self.memory >> 20,
            self.cpus,
            accel.upper(),
        )
        config = origin.config(
            image,
            accel,
            memory=self.memory >> 20,
            cpus=self.cpus,
            scratch=self.disk,
            confinement=self.confinement,
        )
        return Starter(
            image,
            config,
            console=self._console_log,
            timeout=timeout,
            notify=self._notify,
        )

    async def stop(self) -> None:
        """End the machine, whatever state it is in; idempotent.

        When this returns, QEMU is gone and nothing of it is left on the host.

        :raises UsageError: it was started in another event loop.
        """
        if self._running is not None:
            self._running.check_loop()
        if self._state != "new":
            self._state = "stopped"
        if self._finalizer is not None:
            self._finalizer.detach()
        for starter in (self._starter, self._restorer):
            if starter is not None:
                starter.end()
        running, self._running = self._running, None
        if running is not None:
            try:
                await running.end()
            finally:  # a cancellation is raised when all is done
                _logger.info("the machine is gone")

    async def checkpoint(self, name: str | None = None) -> Snapshot:
        """Take a snapshot of the machine, with its processes; the machine goes on.

        Processes that its commands have left live on in each machine that is started from it.

        :param name: one to keep it under, in the place of what has that name; without one it is
            gone with this process, or when it is closed.
        :raises Busy: a command runs on this machine, or another snapshot is being taken.
        :raises UsageError: the machine is not running, or its image is too old for this.
        :raises SnapshotError: it could not be taken; the machine is as usable as before.
        :raises CacheError: the disk is full.
        :raises MachineError: the machine is dead.
        """
        guest = self._guest()
        await guest.wait_idle()
        assert self._running is not None  # noqa: S101 - or there would be no guest
        return await Snapshot._take(self._running, self._image, name)

    @staticmethod
    def attach(name: str, *, wait: bool = False) -> AttachedVM:
        """Return a named machine, which `microvm start` has left running, to be used from here.

        ::

            async with MicroVM.attach("web") as vm:
                await vm.run(["echo", "hello"])

        It is another process's, and goes on when this lets go of it; see `AttachedVM`.

        :param name: the machine's.
        :param wait: whether a command waits for its turn while others use the machine, in the order
            of asking, and is not `Busy`.
        :raises UsageError: no machine can have this name.
        :raises MicroVMError: there is no such machine, or it is gone; says why.
        """
        # The one name from above: whoever uses machines looks for `attach` here.
        from microvm.supervisor.client.attached import AttachedVM

        return AttachedVM(name, wait=wait)

    def _unclosed_warning(self) -> str:
        """Return the warning for a machine that nobody has stopped; empty if that does no harm."""
        return _unclosed(self._running) if self._running else ""

    def _listen_to_console(self, listener: Callable[[bytes], object]) -> None:
        """Call a function with the end of what the guest's console has, and with what comes.

        :raises UsageError: the machine is not running.
        """
        if self._running is None:
            raise UsageError("the machine is not running")
        self._running.listen(listener)

    async def wait_lost(self) -> MachineError:
        """Wait until the machine is dead, and return why; being stopped is a death, too.

        :raises UsageError: the machine is not running.
        """
        return await self._guest().wait_lost()

    def _guest(self) -> Guest:
        if self._running is None:
            hint = "start it by `async with MicroVM() as vm:`, or one of microvm.sync by `with`"
            raise UsageError("the machine is not running", hint=hint)
        self._running.check_loop()
        return self._running.guest


def _unclosed(vm: RunningVM) -> str:
    return "" if vm.qemu.ended else f"a machine was never stopped: QEMU, process {vm.qemu.pid}"


def _dropped(vm: RunningVM, owner: int) -> None:
    """Kill the QEMU of a collected machine; called in any thread, and in forked children."""
    if os.getpid() == owner and (warning := _unclosed(vm)):
        vm.qemu.kill()
        warnings.warn(warning, ResourceWarning, stacklevel=2)
