"""The public class `MicroVM`: a virtual machine that this process starts and stops."""

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
from microvm.images import load, readymade
from microvm.log import Area
from microvm.machine.base import Machine
from microvm.machine.named import NamedMachines
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions, document_options, parse_options
from microvm.options import Accelerator, Confinement, MachineOptions
from microvm.qemu import launcher
from microvm.qemu.launch import os_errors
from microvm.start import origin
from microvm.start.accelerator import AcceleratorChoice
from microvm.start.starter import Starter
from microvm.system import capacity

# Import other modules only when a machine starts: `_launch_early` then spawns QEMU first, which
# starts up while the modules are imported.
if TYPE_CHECKING:
    from microvm.guest.guest import Guest
    from microvm.images import Image
    from microvm.start.restorer import Restorer
    from microvm.start.running_vm import RunningVM, StartTimes

_logger = Area("start")


class MicroVM(Machine, NamedMachines):
    """A virtual machine, which runs commands and is deleted when it stops.

    ::

        async with MicroVM() as vm:
            result = await vm.run(["echo", "hello"])

    The first start with an image and options boots a guest and saves it as a template. Later starts
    with the same image and options clone the template.

    :ivar id: 12 random hexadecimal digits that identify the machine. Each fork has its own.
    :ivar memory: Memory of the guest in bytes.
    :ivar cpus: Number of CPUs of the guest.
    :ivar disk: Size in bytes of the disk for files that the guest writes; 0 if there is no disk.
    :ivar commands: Maximum number of commands that the machine runs at the same time.
    :ivar confinement: Value of the option `confinement`.
    :ivar accel: Accelerator that runs the guest; the value of the option `accel` before the start.
    :ivar cloned: True if the machine was cloned, False if it was booted.
    """

    @document_options(MachineOptions)
    def __init__(
        self, image: Image | Snapshot | str | Path | None = None, **options: Unpack[MachineOptions]
    ) -> None:
        """Check the options. `start`, or entering an `async with` block, starts the machine.

        :param image: Image, or its tag, name or folder. None is the default image. The default
            image and ready-made images, such as `python`, are built if they do not exist. If a
            snapshot is given, the machine continues from it, with the options of the saved machine.
        :raises UsageError: If an option is invalid, or this host cannot provide its value.
        :raises TypeError: If an option does not exist.
        """
        self._configure(image, parse_options(MachineOptions, options, "MicroVM", "image"))

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
        self.id = os.urandom(6).hex()
        self.memory: int = options["memory"]
        self.cpus: int = options["cpus"]
        self.commands: int = options.get("commands", 1)
        self._waits: bool = options.get("wait", False)
        self.disk: int = options["disk"]
        self._arch: str | None = options["arch"]
        self._requested: Accelerator = options["accel"]
        self.confinement: Confinement = options["confinement"]
        self._cold: bool = options["cold"]
        self._on_save: Callable[[], object] = lambda: None  # see `Starter.clone`
        self._must_clone = False  # True to start the machine only for its template
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
        return f"<{type(self).__name__} {self.id}{image}: {state}, {self.accel}{pid}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None if the machine is not running."""
        return self._running.qemu.pid if self._running else None

    @property
    def _start_times(self) -> StartTimes | None:
        return self._running.times if self._running else None

    @property
    def image(self) -> Image:
        """The image of the machine.

        :raises UsageError: the machine has not been started.
        """
        try:
            return self._image
        except AttributeError:
            raise UsageError("the image of a machine is known once it has started") from None

    def _launch_early(self) -> None:
        """Start the QEMU process before `start`, unless a template has to be saved first.

        QEMU then starts while this process imports other modules. The caller must call `start` or
        `stop` afterwards. `start` reports the errors of QEMU itself.
        """
        if self._state != "new":
            return
        given = self._given_image
        with os_errors():
            if self._snapshot is not None:
                self._restorer = self._snapshot._make_restorer(self._console_log, self.confinement)
                self._restorer.launch()
            elif given is not None and not readymade.needs_build(given, self._arch):
                image = self._given_image = load(given, self._arch)
                choice = self._choose(image)
                if len(choice.candidates) == 1:
                    accel = choice.candidates[0]
                    self._starter = self._make_starter(image, accel, choice.timeout(accel))
                    self._starter.launch(cold=self._cold or not image.is_ours)

    async def start(self) -> None:
        """Clone or boot the guest, and wait until it is ready.

        :raises UsageError: If the machine was started before, if it is stopped meanwhile, if no
            asyncio event loop is running, or if the file for the console cannot be opened.
        :raises ImageError: If the image does not exist and cannot be built.
        :raises SnapshotError: If the snapshot does not exist, is damaged, or cannot be used here.
        :raises QemuError: If QEMU is missing or does not start.
        :raises ConfinementError: If QEMU cannot be confined as required.
        :raises BootError: If the guest does not become ready.
        :raises ProtocolError: If the guest sends an invalid message.
        """
        from microvm.concurrency.tasks import running_loop

        if self._state != "new":
            raise UsageError("a machine is started once; make another")
        running_loop("machine")
        self._state = "starting"
        with os_errors():
            await self._start()

    async def _start(self) -> None:
        if not launcher.is_ready():
            await in_stoppable_thread(launcher.find)
        if self._snapshot is not None:
            await self._restore(self._snapshot)
            return
        image = self._image = await readymade.find_or_build(
            self._given_image, self._notify, self._arch
        )
        for may_repeat in (True, False):
            choice = self._choose(image)
            async with choice.trying_alone():
                if await self._start_chosen(image, choice, may_repeat=may_repeat):
                    return

    async def _start_chosen(
        self, image: Image, choice: AcceleratorChoice, *, may_repeat: bool
    ) -> bool:
        """Start the machine. Return False if it should be started again by a new choice."""
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
                # A boot shows whether an accelerator works that is being tried.
                boots_instead = not self._must_clone or accel != choice.candidates[-1]
                running = await (
                    starter.boot()
                    if cold
                    else starter.clone(self._on_save, boots_instead=boots_instead)
                )
            except ConfinementError:
                raise
            except (QemuError, BootError) as error:
                if accel != choice.candidates[-1]:
                    failure = error
                    continue
                if not (choice.failed(error) and may_repeat):
                    raise
                _logger.warning("KVM, which worked before, has failed; trying again: %s", error)
                break
            finally:
                starter.end()
            choice.succeeded(accel, failure)
            await self._begin(running, cloned=starter.cloned)
            return True
        return False

    async def _restore(self, snapshot: Snapshot) -> None:
        restorer, self._restorer = self._restorer, None
        restorer = restorer or snapshot._make_restorer(self._console_log, self.confinement)
        self._image = restorer.image
        await self._begin(await restorer.clone(), cloned=True)

    async def _begin(self, running: RunningVM, *, cloned: bool) -> None:
        if self._state == "stopped":
            await running.end()
            raise UsageError("the machine was stopped while it started")
        self._running = running
        self._state = "running"
        running.guest.commands = self.commands
        running.guest.waits = self._waits
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
        memory, name = self.memory >> 20, accel.upper()
        _logger.info("image %s, %d MiB, CPUs: %d, %s", image.name, memory, self.cpus, name)
        config = origin.config(image, accel, memory=memory, cpus=self.cpus, scratch=self.disk)
        config = config._replace(confinement=self.confinement)
        return Starter(image, config, self._console_log, timeout, self._notify)

    async def stop(self) -> None:
        """Stop the machine, in any state. Further calls have no effect.

        When this method returns, QEMU has exited and all its temporary files are removed. If
        `start` runs at the same time, it does this instead, and raises `UsageError`.

        :raises UsageError: If the machine was started in another event loop.
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
            # Log the end of the machine even if the task was cancelled, because `end` raises
            # CancelledError only after everything has been stopped.
            finally:
                _logger.info("the machine is gone")

    async def checkpoint(self, name: str | None = None) -> Snapshot:
        """Save a snapshot of the machine and its processes. The machine continues to run.

        Background processes of earlier commands also continue in each machine that starts from the
        snapshot.

        :param name: Name under which the snapshot is stored. It replaces a snapshot of the same
            name. A snapshot without a name is deleted when it is closed or when this process exits.
        :raises Busy: If a command runs in the machine, or another snapshot is being saved. With the
            option `wait`, this method waits instead.
        :raises UsageError: If the machine is not running, or its image is too old for snapshots.
        :raises SnapshotError: If the snapshot cannot be saved. The machine is not affected.
        :raises CacheError: If the disk is full.
        :raises MachineError: If the machine has failed.
        """
        guest = self._guest()
        assert self._running is not None  # noqa: S101 - or there would be no guest
        async with guest.idle():
            return await Snapshot._take(self._running, self._image, name)

    def _unclosed_warning(self) -> str:
        return _unclosed(self._running) if self._running else ""

    def _listen_to_console(self, listener: Callable[[bytes], object]) -> None:
        """Call `listener` with the console's output so far, and from then on with all new output.

        Only the last part of the output so far is kept. The machine must be running.
        """
        assert self._running is not None  # noqa: S101 - the caller has started the machine
        self._running.listen(listener)

    async def wait_lost(self) -> MachineError:
        """Wait until the machine fails or is stopped, and return the reason.

        :raises UsageError: If the machine is not running.
        """
        return await self._guest().wait_lost()

    def _guest(self) -> Guest:
        if self._running is None:
            hint = "start it by `async with MicroVM() as vm:`"
            raise UsageError("the machine is not running", hint=hint)
        self._running.check_loop()
        return self._running.guest


def _unclosed(vm: RunningVM) -> str:
    return "" if vm.qemu.ended else f"a machine was never stopped: QEMU, process {vm.qemu.pid}"


def _dropped(vm: RunningVM, owner_pid: int) -> None:
    """Kill QEMU and warn, because the object of a running machine was garbage-collected.

    This function can be called in any thread. It does nothing in a forked child of the process
    `owner_pid`, which started the machine.
    """
    if os.getpid() == owner_pid and (warning := _unclosed(vm)):
        vm.qemu.kill()
        warnings.warn(warning, ResourceWarning, stacklevel=2)
