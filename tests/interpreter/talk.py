"""A host for tests: it starts the interpreter's program as a local process, and talks to it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from microvm.wire import interpreter as wire
from microvm.wire.interpreter import CellEnding, Death, Stream

PIECE = 65520
WINDOW = 1 << 18
DEADLINE = 60.0


@dataclass
class Answered:
    """All that a host receives about a request.

    :ivar last: The message that answers the request.
    :ivar text: The complete text of the answer.
    :ivar displays: The MIME type and the data of each display.
    :ivar shown: The message that completes each display.
    """

    last: wire.Message
    text: str = ""
    stdout: str = ""
    stderr: str = ""
    displays: list[tuple[str, bytes]] = field(default_factory=list)
    shown: list[wire.Display] = field(default_factory=list)
    questions: list[wire.Ask] = field(default_factory=list)

    @property
    def result(self) -> wire.Result:
        """The answer to `run`."""
        assert isinstance(self.last, wire.Result), self.last
        return self.last

    @property
    def value(self) -> str | None:
        """The value of the last expression of a cell that was completed."""
        assert self.result.ending is CellEnding.COMPLETED, self.result.traceback
        return self.text if self.result.has_value else None

    @property
    def error(self) -> str:
        """The class of a cell's exception."""
        assert self.result.ending is CellEnding.RAISED
        assert not self.result.has_value
        return self.result.error_type

    @property
    def death(self) -> tuple[Death, int]:
        """The ending and the status of the worker."""
        assert isinstance(self.last, wire.Died), self.last
        return Death(self.last.ending), self.last.status


class Talk:
    """A connection to an interpreter.

    :param window: Number of bytes of credit that the interpreter has at most.
    """

    def __init__(self, path: Path, window: int = WINDOW) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(DEADLINE)
        self._decoder = wire.Decoder("guest")
        self.window = window
        try:
            self.socket.connect(str(path))
            self.first = self.receive()
        except BaseException:
            self.socket.close()
            raise
        if window and isinstance(self.first, wire.Ready):
            self.send(wire.Credit(window))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.socket.close()

    def send(self, *messages: wire.Message) -> None:
        """Send messages."""
        self.socket.sendall(b"".join(message.encode() for message in messages))

    def receive(self) -> wire.Message:
        """Wait for a message.

        :raises EOFError: The interpreter has closed the connection.
        """
        while (message := self._decoder.next_message()) is None:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self._decoder.receive_data(data)
        return message

    def start(self, code: str) -> None:
        """Start a cell."""
        data = code.encode()
        offset = 0
        while len(data) - offset > PIECE:
            self.send(wire.Piece(offset, data[offset : offset + PIECE]))
            offset += PIECE
        self.send(wire.Run(offset, data[offset:]))

    def run(self, code: str, answer: Callable[[wire.Ask], str | None] | None = None) -> Answered:
        """Execute a cell."""
        self.start(code)
        return self.finish(answer)

    def ask(self, message: wire.Message) -> Answered:
        """Send a request, and wait for its answer."""
        self.send(message)
        return self.finish()

    def kill(self) -> tuple[Death, int]:
        """Kill the worker, in a cell that does not end unless a process interrupts it."""
        while True:
            self.start("import signal\nsignal.pause()")
            answered = self.ask(wire.Kill())
            if not isinstance(answered.last, wire.Result):
                return answered.death

    def finish(
        self,
        answer: Callable[[wire.Ask], str | None] | None = None,
        until: Callable[[Answered], bool] = lambda _: False,
    ) -> Answered:
        """Wait for the end of a request, or until a condition is true."""
        ended = Answered(wire.Kill())
        pieces, out, err = b"", b"", b""
        while True:
            message = self.receive()
            match message:
                case wire.Output(stream=stream, data=data):
                    if stream is Stream.STDOUT:
                        out += data
                    else:
                        err += data
                    self._grant(len(data))
                case wire.Piece(offset=offset, data=data):
                    pieces = bytes(data) if offset == 0 else pieces + bytes(data)
                    assert offset + len(data) == len(pieces)
                    self._grant(len(data))
                case wire.Display(mime=mime, offset=offset, data=data):
                    ended.shown.append(message)
                    ended.displays.append((mime, bytes(pieces[:offset]) + bytes(data)))
                    self._grant(len(data))
                case wire.Ask(question=question):
                    ended.questions.append(message)
                    line = answer(message) if answer else None
                    self.send(wire.Answer(question, line is not None, line or ""))
                case wire.Result(offset=offset, value=rest) | wire.Value(offset=offset, json=rest):
                    ended.text = (bytes(pieces[:offset]) + bytes(rest)).decode()
                    ended.last = message
                case _:
                    ended.last = message
            ended.stdout, ended.stderr = out.decode(errors="replace"), err.decode(errors="replace")
            if not isinstance(ended.last, wire.Kill) or until(ended):
                return ended

    def _grant(self, size: int) -> None:
        if self.window and size:
            self.send(wire.Credit(size))


@contextmanager
def running(program: Path, python: str, folder: Path) -> Iterator[Path]:
    """Start an interpreter, and return the path of its socket. It is killed in the end."""
    path = folder / "socket"
    subprocess.run([python, program, path], cwd=folder, check=True, timeout=DEADLINE)
    try:
        yield path
    finally:
        with suppress(OSError, EOFError):  # the program ends by itself after a death
            _kill_worker(path)
        wait_for(lambda: not path.exists())


def _kill_worker(path: Path) -> None:
    """Ask the keeper to kill the worker and all that it has started."""
    with Talk(path) as talk:
        if isinstance(talk.first, wire.Ready):
            assert talk.kill() == (Death.KILLED, 9)


def children_of(pid: int) -> set[int]:
    """Return the descendants of a process that have not exited."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                child = int(path.parent.name)
                found |= {child} | children_of(child)
    return found


def is_alive(pid: int) -> bool:
    """Return True if a process exists and has not exited."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
