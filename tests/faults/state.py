"""The states of a machine, each reached with a real machine, so that a fault can happen in it.

A state is a coroutine that brings a machine into the state, injects the fault at that moment, and
continues as a user would. Its exception is the error of the user. The moments of a start are found
in the log, whose lines are written just before the steps that they announce.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.polling import eventually
from tests.support.processes import children, program

from microvm import MicroVM
from microvm.images import Image
from microvm.log import ROOT, TRACE

MEMORY = "112M"
"""The memory of a guest: little, so that its template is saved quickly; Debian's kernel fits."""

Inject = Callable[[int], object] | None
"""The type of what makes a fault happen to the QEMU that is this process; None where it is there
from the beginning, and the moment may not be reached."""

_QMP = re.compile(r'QMP of process (\d+) (?:->|<-) \{"(?:execute": ?"([\w-]+)|QMP)"')


@dataclass
class FaultScene:
    """The target of a fault: machines of one image, and the notices to their user.

    :ivar misbehave: function that makes each QEMU run a shell command first; see the fixture of
        that name.
    :ivar options: options of all machines.
    """

    image: Image
    misbehave: Callable[[str], object] = id
    options: dict[str, Any] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)

    def machine(self, **options: Any) -> MicroVM:
        """Return a machine that is not started."""
        settings = {"memory": MEMORY, "accel": "tcg", "notify": self.told.append}
        return MicroVM(self.image, **{**settings, **self.options, **options})


class _Watch(logging.Handler):
    """An observer of the log that calls `inject` once, at the expected moment."""

    def __init__(self, moment: str, inject: Callable[[int], object]) -> None:
        super().__init__(TRACE)
        self.reached = False
        self._moment = moment
        self._inject = inject
        self._pid = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self.reached:
            return
        said = _QMP.match(record.getMessage())
        if said:
            self._pid = int(said[1])
        is_frame = getattr(record, "sender", "") == "host"
        if self._moment == ("frame" if is_frame else said and (said[2] or "greeting")):
            self.reached = True
            self._inject(self._pid)


@contextmanager
def at(moment: str, inject: Inject) -> Iterator[None]:
    """Call `inject` at a moment within the block, and fail if the moment does not occur.

    :param moment: the first `frame` to a guest, the `greeting` of QMP, or a command of QMP.
    """
    if inject is None:
        yield
        return
    logger = logging.getLogger(ROOT)
    watch, level = _Watch(moment, inject), logger.level
    logger.addHandler(watch)
    logger.setLevel(TRACE)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(watch)
        assert watch.reached, f"there was no {moment}"


def _happen(inject: Inject, machine: MicroVM) -> None:
    if inject is not None:
        inject(machine.pid or 0)


async def _use(machine: MicroVM) -> None:
    async with machine:
        await _hello(machine)


async def _hello(machine: MicroVM) -> None:
    assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"


async def starting(scene: FaultScene, inject: Inject) -> None:
    """QEMU is spawned to boot a guest, and has received no command."""
    others = set(children(os.getpid()))
    machine = scene.machine(cold=True)
    machine._launch_early()
    try:
        if inject is not None:
            eventually(lambda: _emulators(others))
            inject(_emulators(others)[0])
    finally:
        await _use(machine)


def _emulators(others: set[int]) -> list[int]:
    """Return our children that have executed QEMU, except these."""
    ours = set(children(os.getpid())) - others
    return [pid for pid in ours if program(pid).startswith("qemu-system-")]


async def greeting(scene: FaultScene, inject: Inject) -> None:
    """The guest boots, and receives a hello."""
    with at("frame", inject):
        await _use(scene.machine(cold=True))


async def saving(scene: FaultScene, inject: Inject) -> None:
    """The template is created: QEMU receives the command to save a guest."""
    with at("migrate", inject):
        await _use(scene.machine())


async def cloning(scene: FaultScene, inject: Inject) -> None:
    """QEMU receives the command to restore the template."""
    with at("migrate-incoming", inject):
        await _use(scene.machine())


async def idle(scene: FaultScene, inject: Inject) -> None:
    """The machine is ready, and receives its next command after the fault."""
    async with scene.machine() as machine:
        _happen(inject, machine)
        await machine.run(["true"])


async def executing(scene: FaultScene, inject: Inject) -> None:
    """A command runs."""
    async with scene.machine() as machine:
        process = await machine.exec(["sh", "-c", "echo; sleep 60"])
        assert await anext(process.stdout) == b"\n"
        _happen(inject, machine)
        await process.wait()


async def flooding(scene: FaultScene, inject: Inject) -> None:
    """A command writes as fast as it can, and all output is read."""
    async with scene.machine() as machine:
        process = await machine.exec(["yes"])
        assert await anext(process.stdout)
        _happen(inject, machine)
        async for _ in process.stdout:
            pass
        await process.wait()


async def snapshotting(scene: FaultScene, inject: Inject) -> None:
    """A snapshot is taken: QEMU receives the command to send the guest."""
    async with scene.machine() as machine:
        with at("migrate", inject):
            (await machine.checkpoint()).close()


async def stopping(scene: FaultScene, inject: Inject) -> None:
    """The machine is about to be stopped."""
    async with scene.machine() as machine:
        await _hello(machine)
        _happen(inject, machine)


State = Callable[[FaultScene, Inject], Coroutine[Any, Any, None]]

STATES: dict[str, State] = {
    state.__name__: state
    for state in (
        starting,
        greeting,
        saving,
        cloning,
        idle,
        executing,
        flooding,
        snapshotting,
        stopping,
    )
}
"""The states, in the order of a machine's life."""
