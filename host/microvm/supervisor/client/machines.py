"""All named machines of this user: what they are and do, their consoles, and their end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from select import POLLIN, poll, select
from threading import Thread
from typing import Any

from microvm.errors import GuestUnresponsive, MicroVMError, UsageError
from microvm.supervisor import wire
from microvm.supervisor.client.blocking import BlockingConnection, connect_to
from microvm.supervisor.machine_directory import CONSOLE, FACTS, MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory

ANSWER_TIMEOUT = 1.5
"""The seconds that supervisors have to say what their machines do, all together."""

_MOST_PINGS = 2  # without an answer, of a supervisor that is to end its machine
_DEATH_TIMEOUT = 5.0  # of one that was killed, which the kernel clears up, in seconds
_LOOK = 0.1  # the seconds between two looks at a console that is followed
_CHUNK = 1 << 16


def inspect(
    names: Sequence[str] | None = None,
) -> tuple[list[dict[str, Any]], MicroVMError | None]:
    """Return what machines are and do, sorted by name, or as they are named; and what went wrong.

    Each has `name` and `state`: `starting`, `running`, `ending`; `silent`, where its supervisor
    does not answer; or `gone`, with the `reason`. All but the first and the last have what
    `machine.json` has; those that answer also `runs`, `waiting`, `memory_used` and `cpu_time`.

    :param names: or beginnings of them; None for all, of which those that have been dead for long
        are removed.
    :raises MicroVMError: the runtime folder cannot be used.
    """
    failures: list[MicroVMError] = []
    with RuntimeDirectory() as runtime, ExitStack() as opened:
        if names is None:
            runtime.sweep_old()
        asked = []
        for name in runtime.names() if names is None else names:
            try:
                directory = opened.enter_context(runtime.open(name, beginning=names is not None))
            except MicroVMError as error:
                failures.append(error)
            else:
                asked.append(_Asked(directory))
        _collect([each for each in asked if each.connection is not None])
        return [each.facts() for each in asked], _together(failures)


def _together(failures: Sequence[MicroVMError]) -> MicroVMError | None:
    """Return one error for several, if there are any."""
    if len(failures) < 2:
        return failures[0] if failures else None
    return MicroVMError("; ".join(each.message for each in failures))


class _Asked:
    """A machine whose supervisor has been asked what it does."""

    def __init__(self, directory: MachineDirectory) -> None:
        self.directory = directory
        self.connection: BlockingConnection | None = None
        self.answer: dict[str, Any] | None = None
        self.lives = directory.lives()
        if not self.lives:
            return
        try:
            self.connection = connect_to(directory, timeout=0)
        except (MicroVMError, OSError):  # it is just being made, or has just ended
            self.lives = directory.lives()
        else:
            self.connection.send({"wire": wire.WIRE, "call": "facts"})

    def receive(self) -> None:
        """Take the answer, which is there."""
        assert self.connection is not None  # noqa: S101 - it was asked
        try:
            self.answer = self.connection.reply()
        except MicroVMError:  # it has just ended, or is of another wire
            self.lives = self.directory.lives()
            self.answer = {**self._known(), "state": "running"} if self.lives else None

    def facts(self) -> dict[str, Any]:
        """Return what is known of it."""
        if self.connection is not None:
            self.connection.__exit__()
        if self.answer is not None:
            return self.answer
        if not self.lives:
            return {**self._known(), "state": "gone", "reason": self.directory.ended()["reason"]}
        known = self._known()
        up = self.connection is not None or "qemu" in known
        return {**known, "state": "silent" if up else "starting"}

    def _known(self) -> dict[str, Any]:
        """Return what is known without its supervisor."""
        return {"name": self.directory.name, **self.directory.read(FACTS)}


def _collect(asked: list[_Asked]) -> None:
    """Take the answers that come in time."""
    deadline = time.monotonic() + ANSWER_TIMEOUT
    waiting = poll()
    left = {}
    for each in asked:
        assert each.connection is not None  # noqa: S101 - these were asked
        waiting.register(each.connection.socket, POLLIN)
        left[each.connection.socket.fileno()] = each
    while left and (seconds := deadline - time.monotonic()) > 0:
        for descriptor, _ in waiting.poll(seconds * 1000):
            waiting.unregister(descriptor)
            left.pop(descriptor).receive()


def stop(names: Sequence[str] | None) -> Iterator[str]:
    """End machines, and yield their names as they are gone; all are ended at the same time.

    A supervisor that does not answer, or is of another wire, is killed, and QEMU dies with it.

    :param names: None for all of them; beginnings of names will not do.
    :raises MicroVMError: there is no such machine, or it does not end; the others have.
    """
    with RuntimeDirectory() as runtime:
        ending = runtime.names() if names is None else list(dict.fromkeys(names))
    done: SimpleQueue[tuple[str, MicroVMError | None]] = SimpleQueue()

    def end(name: str) -> None:
        try:
            _end(name)
        except MicroVMError as error:
            done.put((name, error))
        except Exception as error:  # it is told with the others'
            done.put((name, MicroVMError(f"machine {name} does not end: {error}")))
        else:
            done.put((name, None))

    for name in ending:
        Thread(target=end, args=(name,), daemon=True).start()  # who is interrupted waits for none
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


def _end(name: str) -> None:
    """End a machine, and leave nothing of it.

    :raises MicroVMError: there is none, or it does not end.
    """
    with RuntimeDirectory() as runtime, runtime.open(name) as directory, ExitStack() as opened:
        if connection := _asked(directory, opened, "stop"):
            try:
                connection.reply(most_pings=_MOST_PINGS)
            except GuestUnresponsive:
                connection.kill()
            except UsageError:  # which ended the connection
                with connect_to(directory) as another:
                    another.kill()
            except MicroVMError:  # it was killed meanwhile
                if not directory.dies(_DEATH_TIMEOUT):
                    raise
        if not directory.dies(_DEATH_TIMEOUT):
            raise MicroVMError(f"machine {name} does not end")
        runtime.sweep(directory)  # what one that was killed has left


def _asked(directory: MachineDirectory, opened: ExitStack, call: str) -> BlockingConnection | None:
    """Send a request to a supervisor; None where nobody is there to be asked."""
    try:
        connection = opened.enter_context(connect_to(directory))
    except MicroVMError:
        if directory.lives():
            raise
        return None
    connection.send({"wire": wire.WIRE, "call": call})
    return connection


def wait(name: str) -> dict[str, Any]:
    """Wait until a machine has ended, and return why: `reason`, and whether that was `asked` for.

    :raises MicroVMError: there is no such machine.
    """
    with RuntimeDirectory() as runtime, runtime.open(name, beginning=True) as directory:
        try:
            with connect_to(directory) as connection:
                ended: dict[str, Any] = connection.ask("wait")
                return ended
        except MicroVMError:
            if directory.lives():
                raise
        return directory.ended()


def console(name: str, *, follow: bool) -> Iterator[bytes]:
    """Yield what a machine's guest has written to its console, as far as that is kept.

    :param follow: go on with what comes, until the machine has ended.
    :raises MicroVMError: there is no such machine.
    """
    with (
        RuntimeDirectory() as runtime,
        runtime.open(name, beginning=True) as directory,
        ExitStack() as opened,
    ):
        ended = _asked(directory, opened, "wait") if follow else None
        older, newer = CONSOLE
        if (file := _opened(directory, older)) >= 0:
            opened.callback(os.close, file)
            yield from _rest(file)
        file, last = -1, ended is None
        while True:
            if file < 0 and (file := _opened(directory, newer)) >= 0:
                opened.callback(os.close, file)
            yield from _rest(file)
            if file >= 0 and not _is(directory, newer, file):
                yield from _rest(file)
                file = -1  # it is the older half now
            elif last or ended is None:
                return
            else:
                last = bool(select([ended.socket], (), (), _LOOK)[0])


def _opened(directory: MachineDirectory, name: str) -> int:
    try:
        return directory.file(name, os.O_RDONLY)
    except OSError:
        return -1


def _is(directory: MachineDirectory, name: str, file: int) -> bool:
    """Tell whether a file still has its name."""
    try:
        found = os.stat(name, dir_fd=directory.descriptor, follow_symlinks=False)
    except OSError:
        return True  # it has gone with its machine
    return os.path.samestat(found, os.fstat(file))


def _rest(file: int) -> Iterator[bytes]:
    while file >= 0 and (data := os.read(file, _CHUNK)):
        yield data
