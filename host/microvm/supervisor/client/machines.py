"""All named machines of this user: their state, their consoles, and how to stop them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from select import POLLIN
from threading import Thread
from typing import Any

from microvm.errors import GuestUnresponsive, MicroVMError, UsageError
from microvm.supervisor.client import protocol
from microvm.supervisor.client.blocking import BlockingConnection, connect_to
from microvm.supervisor.machine_directory import CONSOLE, FACTS, MachineDirectory, noun
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.system.descriptors import wait_ready
from microvm.system.patience import patient

ANSWER_TIMEOUT = 1.5
"""Maximum number of seconds to wait for the answers of all supervisors together."""

_MAX_PINGS = 2  # number of pings that a supervisor may leave unanswered before it is killed
_DEATH_TIMEOUT = 5.0  # maximum number of seconds until a killed supervisor has exited
_INTERVAL = 0.1  # seconds between two reads of a console that is followed
_CHUNK = 1 << 16


def inspect(
    names: Sequence[str] | None = None, *, pools: bool = False
) -> tuple[list[dict[str, Any]], MicroVMError | None]:
    """Return descriptions of the machines `names`, or of all, and an error for unknown names.

    The machines are sorted by name, or in the order of `names`. Each description has `name` and
    `state`: `starting`, `running`, `ending`, `silent` (the supervisor does not answer), or `gone`
    with the `reason`. All states except `starting` and `gone` have the fields of `machine.json`. If
    the supervisor answers, they also have `runs`, `waiting`, `memory_used` and `cpu_time`.

    :param names: names, or unique beginnings of names. None for all machines; this also removes
        machines that have been dead for a long time.
    :param pools: True for pools instead of machines.
    """
    failures: list[MicroVMError] = []
    with RuntimeDirectory() as runtime, ExitStack() as opened:
        if names is None:
            runtime.sweep_old()
        asked = []
        for name in runtime.names(pools=pools) if names is None else names:
            try:
                directory = runtime.open(name, beginning=names is not None, pool=pools)
            except MicroVMError as error:
                failures.append(error)
            else:
                asked.append(_Inspection(opened.enter_context(directory)))
        _collect([each for each in asked if each.connection is not None])
        return [each.description() for each in asked], _together(failures)


def _together(failures: Sequence[MicroVMError]) -> MicroVMError | None:
    """Combine several errors in one error; return None if there are none."""
    if len(failures) < 2:
        return failures[0] if failures else None
    return MicroVMError("; ".join(each.message for each in failures))


class _Inspection:
    """A request for the description of a machine, and the answer of its supervisor."""

    def __init__(self, directory: MachineDirectory) -> None:
        self.directory = directory
        self.connection: BlockingConnection | None = None
        self.answer: dict[str, Any] | None = None
        self.is_alive = directory.is_alive()
        if not self.is_alive:
            return
        try:
            self.connection = connect_to(directory, timeout=0)
        except (MicroVMError, OSError):  # the machine is just starting or ending
            self.is_alive = directory.is_alive()
        else:
            self.connection.send(protocol.request(call="facts"))

    def receive(self) -> None:
        """Receive the answer of the supervisor. Called when the connection has data to read."""
        assert self.connection is not None  # noqa: S101 - the supervisor was asked
        try:
            self.answer = self.connection.reply()
        except MicroVMError:  # the machine has just ended, or its wire has another version
            self.is_alive = self.directory.is_alive()
            self.answer = {**self._known(), "state": "running"} if self.is_alive else None

    def description(self) -> dict[str, Any]:
        """Return the machine's description, from its supervisor's answer or else from its files."""
        if self.connection is not None:
            self.connection.__exit__()
        if self.answer is not None:
            return self.answer
        known = self._known()
        if not self.is_alive:
            return {**known, "state": "gone", "reason": self.directory.ended()["reason"]}
        up = self.connection is not None or "qemu" in known or "pool" in known
        return {**known, "state": "silent" if up else "starting"}

    def _known(self) -> dict[str, Any]:
        """Return the description in the file `machine.json`, without asking the supervisor."""
        return {"name": self.directory.name, **self.directory.read(FACTS)}


def _collect(asked: list[_Inspection]) -> None:
    """Wait at most `ANSWER_TIMEOUT` seconds for the supervisors' answers, and receive them."""
    deadline = time.monotonic() + patient(ANSWER_TIMEOUT)
    waiting = {each.connection.socket.fileno(): each for each in asked if each.connection}
    while waiting and (left := deadline - time.monotonic()) > 0:
        for descriptor in wait_ready(dict.fromkeys(waiting, POLLIN), left):
            waiting.pop(descriptor).receive()


def stop(names: Sequence[str] | None, *, pools: bool = False) -> Iterator[str]:
    """End the machines `names`, or all, at the same time. Yield each name when it has ended.

    If a supervisor does not answer, or its wire has another version, it is killed. The kernel then
    kills QEMU, too.

    :param names: names of machines, which may not be abbreviated; None for all machines.
    :param pools: True for pools instead of machines.
    :raises MicroVMError: some machines do not exist or do not end. All others have ended.
    """
    with RuntimeDirectory() as runtime:
        ending = runtime.names(pools=pools) if names is None else list(dict.fromkeys(names))
    done: SimpleQueue[tuple[str, MicroVMError | None]] = SimpleQueue()

    def end(name: str) -> None:
        try:
            _end(name, pool=pools, must_exist=names is not None)
        except MicroVMError as error:
            done.put((name, error))
        except Exception as error:  # without this, the reader of the queue would wait for ever
            done.put((name, MicroVMError(f"{noun(pool=pools)} {name} does not end: {error}")))
        else:
            done.put((name, None))

    for name in ending:
        # Python does not wait for daemon threads when this process exits, such as after Ctrl-C.
        Thread(target=end, args=(name,), daemon=True).start()
    failures = {}
    for _ in ending:
        name, failure = done.get()
        if failure is None:
            yield name
        else:
            failures[name] = failure
    with RuntimeDirectory() as runtime:
        runtime.sweep_old()
    if failure := _together([failures[name] for name in ending if name in failures]):
        raise failure


def _end(name: str, *, pool: bool, must_exist: bool) -> None:
    """End a machine, and remove its files.

    :param must_exist: False if it is no error that the machine has just removed its files itself.
    """
    with RuntimeDirectory() as runtime, ExitStack() as opened:
        try:
            directory = opened.enter_context(runtime.open(name, pool=pool))
        except MicroVMError:
            if must_exist or name in runtime.names(pools=pool):
                raise
            return
        if connection := _ask(directory, opened, "stop"):
            connection.max_pings = _MAX_PINGS
            try:
                connection.reply()
            except GuestUnresponsive:
                connection.kill()
            # The supervisor refuses all requests, because it uses another version of the wire.
            except UsageError:
                with connect_to(directory) as another:
                    another.kill()
            except MicroVMError:  # somebody may have killed the supervisor
                if not directory.wait_dead(_DEATH_TIMEOUT):
                    raise
        if not directory.wait_dead(_DEATH_TIMEOUT):
            raise MicroVMError(f"{noun(pool=pool)} {name} does not end")
        # A supervisor that was killed could not remove its files, so remove them here.
        runtime.sweep(directory)


def _ask(directory: MachineDirectory, opened: ExitStack, call: str) -> BlockingConnection | None:
    """Send a request named `call` to a supervisor. Return the connection, which `opened` closes.

    Return None if the machine has ended.
    """
    try:
        connection = opened.enter_context(connect_to(directory))
    except MicroVMError:
        if directory.is_alive():
            raise
        return None
    connection.send(protocol.request(call=call))
    return connection


def wait(name: str) -> dict[str, Any]:
    """Wait until a machine has ended. Return the `reason`, and `asked`: True if a user wanted it.

    :raises MicroVMError: there is no such machine.
    """
    with RuntimeDirectory() as runtime, runtime.open(name, beginning=True) as directory:
        try:
            with connect_to(directory) as connection:
                ended: dict[str, Any] = connection.ask("wait")
                return ended
        except MicroVMError:
            if directory.is_alive():
                raise
        return directory.ended()


def console(name: str, *, follow: bool) -> Iterator[bytes]:
    """Yield a machine's stored console output. With `follow`, continue until the machine has ended.

    :raises MicroVMError: there is no such machine.
    """
    with (
        RuntimeDirectory() as runtime,
        runtime.open(name, beginning=True) as directory,
        ExitStack() as opened,
    ):
        connection = _ask(directory, opened, "wait") if follow else None
        older, newer = CONSOLE
        if (file := _opened(directory, older)) >= 0:
            opened.callback(os.close, file)
            yield from _rest(file)
        file, last = -1, connection is None
        while True:
            if file < 0 and (file := _opened(directory, newer)) >= 0:
                opened.callback(os.close, file)
            yield from _rest(file)
            if file >= 0 and not _has_name(directory, newer, file):
                yield from _rest(file)
                file = -1  # it was renamed when it was full, so open the new file
            elif last or connection is None:
                return
            else:
                last = bool(wait_ready({connection.socket.fileno(): POLLIN}, _INTERVAL))


def _opened(directory: MachineDirectory, name: str) -> int:
    try:
        return directory.file(name, os.O_RDONLY)
    except OSError:
        return -1


def _has_name(directory: MachineDirectory, name: str, file: int) -> bool:
    """Tell whether an open file still is the file `name` in the folder of a machine."""
    try:
        found = os.stat(name, dir_fd=directory.descriptor, follow_symlinks=False)
    except OSError:
        return True  # the machine's folder was removed, so this is the last file
    return os.path.samestat(found, os.fstat(file))


def _rest(file: int) -> Iterator[bytes]:
    while file >= 0 and (data := os.read(file, _CHUNK)):
        yield data
