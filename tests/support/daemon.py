"""A daemon as a process on a socket pair, for tests that exchange messages with it."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from microvm.wire import codec

from .made_once import made_once
from .polling import PAUSE, PollDeadline, eventually
from .processes import ObservedProcess, children, state
from .trace import DaemonTrace

GUEST = Path(__file__).resolve().parents[2] / "guest"

both_builds = pytest.mark.parametrize("binary", ["shipped", "sanitized"], indirect=True)
shipped_build = pytest.mark.parametrize("binary", ["shipped"], indirect=True)
"""Decorators for tests in tests/guest, which otherwise use the daemon with sanitizers only."""

PLENTY = 0xFFFFFFFF

M = TypeVar("M", bound=codec.Message)


@dataclass
class Result:
    """The result of a command: its output, its last message, and the other messages before that."""

    stdout: bytes
    stderr: bytes
    end: codec.ExecResponse | codec.ExecFailed
    others: list[codec.Message] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """The exit code of a command that was started and has exited."""
        assert isinstance(self.end, codec.ExecResponse), self.end
        assert self.end.ending is codec.Ending.EXITED, self.end
        return self.end.status

    @property
    def failure(self) -> tuple[codec.Stage | int, int]:
        """The stage and the errno of a command that could not be started."""
        assert isinstance(self.end, codec.ExecFailed), self.end
        return self.end.stage, self.end.error_number


class DaemonProcess:
    """The daemon as a process on a socket pair.

    :ivar stream: our socket of the pair.
    :ivar is_init: True if the daemon is PID 1.
    :ivar deadline: maximum number of seconds for each expected event.
    """

    deadline = 20.0
    is_init = False

    def __init__(
        self,
        binary: Path,
        *,
        prefix: Sequence[str] = (),
        env: dict[str, str] | None = None,
    ) -> None:
        """Start the daemon.

        :param prefix: command that executes the rest of its command line.
        """
        self.stream, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            self.process = subprocess.Popen(
                [*prefix, str(binary), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=self._stderr,
                env=env,
            )
        self.pid = self.process.pid

    def words(self) -> str:
        """Return what the daemon, its sanitizers or their runtime wrote to standard error."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def report(self) -> str:
        """Return the daemon's exit status, if it has exited, and its standard error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return f"the daemon's status is {self.process.poll()}\n{self.words()}"

    def descendants(self) -> list[ObservedProcess]:
        """Return the pids of the daemon's children and of their descendants."""
        pids = children(self.pid)
        for pid in pids:
            pids += children(pid)
        return [ObservedProcess.of(pid) for pid in pids]

    def wait(self) -> int | None:
        """Wait until the daemon exits, and return its status; None if it does not exit."""
        deadline = PollDeadline(self.deadline)
        while self.process.poll() is None and not deadline.passed():
            time.sleep(PAUSE)
        return self.process.poll()

    def close(self) -> None:
        """Close the socket, and wait until the daemon and all its descendants exit."""
        left = self.descendants()
        self.stream.close()
        if self.wait() is None:
            self.process.kill()
            self.process.wait()
        for process in left:
            process.kill()
        self._stderr.close()


class Daemon(DaemonProcess):
    """A daemon process for tests, which exchange messages with it after `hello`."""

    def __init__(self, binary: Path, **options: Any) -> None:
        """Start the daemon. The options are those of `DaemonProcess`."""
        super().__init__(binary, **options)
        self.stream.settimeout(self.deadline)
        self._decoder = codec.Decoder("guest")
        self._trace = DaemonTrace()
        self._id = 0
        self._token = 0

    def send(self, *items: codec.Message | bytes) -> None:
        """Write frames, or any bytes, in one piece."""
        data = b"".join(i if isinstance(i, bytes) else i.encode() for i in items)
        self._trace.sent(data)
        self.stream.sendall(data)

    def send_each(self, *pieces: bytes) -> None:
        """Write each of these pieces with a write of its own."""
        for piece in pieces:
            self.send(piece)

    def receive(self) -> codec.Message:
        while (message := self._decoder.next_message()) is None:
            try:
                data = self.stream.recv(1 << 18)
            except TimeoutError:
                self._trace.fell_silent()
                raise
            assert data, f"the daemon has closed its port; {self.report()}"
            self._decoder.receive_data(data)
        self._trace.received(message)
        return message

    def receive_until(self, kind: type[M]) -> tuple[list[codec.Message], M]:
        """Return the next message of a type, and the messages before it."""
        before: list[codec.Message] = []
        while not isinstance(message := self.receive(), kind):
            before.append(message)
        return before, message

    def expect(self, *messages: codec.Message) -> None:
        """Receive these messages and no other."""
        for message in messages:
            assert self.receive() == message

    def expect_end(self) -> None:
        """Receive the end of the stream, and no message before it. No request may be open."""
        assert self._decoder.next_message() is None
        assert self.stream.recv(1) == b""
        self._trace.fell_silent()

    def hello(self, nonce: int = 1) -> codec.Ready:
        """Start a session; the daemon must send its answer and nothing else."""
        self.send(hello(nonce))
        ready = self.receive()
        assert isinstance(ready, codec.Ready)
        assert ready.nonce == nonce
        self._id = 0
        return ready

    def sync(self) -> list[codec.Message]:
        """Send a ping, and return the messages that arrived before its answer."""
        self._token += 1
        self.send(codec.Ping(self._token))
        before, pong = self.receive_until(codec.Pong)
        assert pong.token == self._token
        return before

    def status(self) -> codec.Status:
        """Return the counters of the daemon, while no command runs."""
        self.send(codec.StatusRequest())
        status = self.receive()
        assert isinstance(status, codec.Status)
        return status

    def start(
        self,
        *argv: bytes,
        command: bytes | None = None,
        env: Sequence[bytes] = (),
        cwd: bytes = b"",
        credit: int = PLENTY,
        stderr_credit: int | None = None,
        user: bytes = b"",
        fed: bool = False,
        size: tuple[int, int] = (0, 0),
        limits: tuple[int, int] = (0, 0),
        more_argv: Sequence[bytes] = (),
        more_env: Sequence[bytes] = (),
        beside: bool = False,
        joined: bool = False,
    ) -> int:
        """Send the request for a command, and return its id.

        :param fed: True if we send the standard input.
        :param size: lines and columns of the terminal.
        :param limits: limits of processes and memory.
        :param beside: True if other commands may run at the same time.
        :param joined: True if standard error is the pipe of standard output.
        """
        self._id += 1
        command = argv[0] if command is None else command
        err = credit if stderr_credit is None else stderr_credit
        kind = codec.StdinKind.HOST if fed else codec.StdinKind.NULL
        given = (command, cwd, argv, tuple(env), credit, err, user, kind, *size, *limits)
        more: dict[str, Any] = {"more_argv": tuple(more_argv), "more_env": tuple(more_env)}
        self.send(codec.ExecRequest(self._id, *given, **more, beside=beside, joined=joined))
        return self._id

    def sh(self, script: str, **options: Any) -> int:
        """Send the request for a shell script, and return its id."""
        return self.start(b"sh", b"-c", script.encode(), **options)

    def finish(self, id_: int) -> Result:
        """Collect the output of a command until it ends."""
        return self.finish_all(id_)[0]

    def finish_all(self, *ids: int) -> list[Result]:
        """Collect the output of these commands until all have ended. No other command may run."""
        output = {(id_, stream): b"" for id_ in ids for stream in codec.Stream}
        ends: dict[int, codec.ExecResponse | codec.ExecFailed] = {}
        others: list[codec.Message] = []
        while len(ends) < len(ids):
            message = self.receive()
            match message:
                case codec.ExecOutput():
                    assert message.id not in ends
                    assert len(message.data) > 0
                    output[message.id, message.stream] += message.data
                case codec.ExecResponse() | codec.ExecFailed():
                    assert message.id in ids
                    assert message.id not in ends
                    ends[message.id] = message
                case _:
                    others.append(message)
        out, err = codec.Stream
        return [Result(output[id_, out], output[id_, err], ends[id_], others) for id_ in ids]

    def run(self, *argv: bytes, **options: Any) -> Result:
        return self.finish(self.start(*argv, **options))

    def run_sh(self, script: str, **options: Any) -> Result:
        return self.finish(self.sh(script, **options))

    def kill(self, id_: int) -> Result:
        """Kill a command, which must end by the signal."""
        self.send(codec.ExecKill(id_))
        result = self.finish(id_)
        assert result.end == codec.ExecResponse(id_, codec.Ending.SIGNALLED, 9)
        return result

    def feed(self, id_: int, data: bytes) -> None:
        """Send standard input without its end. The test must know that there is credit."""
        for at in range(0, len(data), codec.ExecStdin.MAX_BODY):
            self.send(codec.ExecStdin(id_, data[at : at + codec.ExecStdin.MAX_BODY]))

    def end_input(self, id_: int) -> None:
        self.send(codec.ExecStdin(id_, b""))

    def wait_credit(self) -> int:
        """Wait for credit for standard input, and return its amount."""
        message = self.receive()
        assert isinstance(message, codec.ExecStdinCredit), message
        return message.amount

    def read(self, size: int) -> bytes:
        """Collect the output of one stream until it has this length."""
        data = b""
        while len(data) < size:
            message = self.receive()
            assert isinstance(message, codec.ExecOutput), message
            data += message.data
        return data

    def read_lines(self, count: int) -> list[bytes]:
        """Collect output up to the end of the line with this number."""
        data = b""
        while data.count(b"\n") < count or not data.endswith(b"\n"):
            data += self.read(1)
        lines = data.splitlines()
        assert len(lines) == count
        return lines

    def read_line(self) -> bytes:
        """Collect one line of output; no byte may follow it."""
        return self.read_lines(1)[0]

    def sleeper(self) -> int:
        """Start a command that sleeps, and return its pid."""
        self.sh("echo $$; exec sleep 1000")
        return int(self.read_line())

    def comes_to_rest(self) -> None:
        """Wait until the daemon sleeps and uses no CPU time, which a spinning daemon never does."""
        eventually(self._is_idle)

    def _is_idle(self) -> bool:
        before = self._used_ns()
        time.sleep(0.05)
        return state(self.pid) == "S" and self._used_ns() == before

    def _used_ns(self) -> int:
        """Return the CPU time that the daemon has used, in nanoseconds."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])

    def fill(self, frame: bytes) -> int:
        """Write copies of a frame until the socket is full; return the number of copies."""
        count, rest = 0, b""
        self.stream.settimeout(0)
        while True:
            rest = rest or frame
            try:
                size = self.stream.send(rest)
                self._trace.sent(rest[:size])
                rest = rest[size:]
            except BlockingIOError:
                if self._is_idle() and not self._is_writable():
                    break
            count += not rest
        self.stream.settimeout(self.deadline)
        assert len(rest) == len(frame), "half a frame was taken, and the test cannot finish it"
        return count

    def _is_writable(self) -> bool:
        return bool(select.select([], [self.stream], [], 0)[1])

    def close(self) -> None:
        """Close the socket. The daemon must exit successfully, without any output."""
        self.stream.close()
        status, report, words = self.wait(), self.report(), self.words()
        super().close()
        assert status in (0, -signal.SIGTERM), report
        assert not words, report


def request(
    id_: int, *argv: bytes, more_env: tuple[bytes, ...] = (), beside: bool = False
) -> codec.ExecRequest:
    """Return the request for a command that has much credit, no input, and no limits."""
    null = codec.StdinKind.NULL
    streams = (PLENTY, PLENTY, b"", null)
    head = (id_, argv[0], b"", argv, (), *streams, 0, 0, 0, 0)
    return codec.ExecRequest(*head, more_env=more_env, beside=beside)


def hello(nonce: int) -> bytes:
    """Return a hello as it should be."""
    return codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce).encode()


def build_sanitized(folder: Path, guest: Path = GUEST, target: str = "sanitized-sandboxd") -> Path:
    """Compile the daemon with ASan and UBSan into a folder.

    :param guest: folder of the sources.
    :param target: target of the makefile; `sanitized` for the companion programs of the daemon,
        too.
    """
    path = folder / "sandboxd"
    command = ["make", "-s", "-C", str(guest), target, f"OUT={folder}", "CC=gcc"]
    subprocess.run(command, check=True, timeout=120)
    return path


def sanitized_daemon(factory: pytest.TempPathFactory) -> Path:
    """Return the daemon with ASan and UBSan, which the processes of a test run compile once.

    Its companion programs are beside it.
    """

    def build(folder: Path) -> None:
        build_sanitized(folder, target="sanitized")

    return made_once(factory, "sanitized", build) / "sandboxd"
