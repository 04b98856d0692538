"""The daemon as a process on a socket pair, and what tests say to it. Every wait has a deadline."""

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

from microvm.wire import codec

from .polling import PAUSE, Deadline, eventually
from .processes import Process, children, state

GUEST = Path(__file__).resolve().parents[2] / "guest"

PLENTY = 0xFFFFFFFF

M = TypeVar("M", bound=codec.Message)


@dataclass
class Result:
    """The result of a command: its output, its last frame, and what came between them."""

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
        """Stage and errno of a command that could not be started."""
        assert isinstance(self.end, codec.ExecFailed), self.end
        return self.end.stage, self.end.error_number


class DaemonProcess:
    """The daemon as a process on a socket pair.

    :ivar stream: our end.
    :ivar is_init: whether it is PID 1.
    :ivar deadline: seconds for anything that should happen at once.
    """

    deadline = 20.0
    is_init = False

    def __init__(
        self,
        binary: Path,
        *,
        prefix: Sequence[str] = (),
        env: dict[str, str] | None = None,
        user: int | None = None,
    ) -> None:
        """Start it.

        :param prefix: a command that executes the rest of its command line.
        :param user: whom it runs as, if not as us.
        """
        self.stream, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs, binary.open("rb") as executable:
            # By its descriptor: another user may not be able to reach its folder.
            path = f"/proc/self/fd/{executable.fileno()}" if user else str(binary)
            self.process = subprocess.Popen(
                [*prefix, path, str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *([executable.fileno()] if user else [])],
                stdin=subprocess.DEVNULL,
                stderr=self._stderr,
                env=env,
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        self.pid = self.process.pid

    def words(self) -> str:
        """Return what it, the sanitizers or their runtime have written to standard error."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def report(self) -> str:
        """Say how it has ended, if it has, and what it wrote to its standard error."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return f"the daemon's status is {self.process.poll()}\n{self.words()}"

    def descendants(self) -> list[Process]:
        """Return its children, theirs, and so on."""
        pids = children(self.pid)
        for pid in pids:
            pids += children(pid)
        return [Process.of(pid) for pid in pids]

    def wait(self) -> int | None:
        """Wait for its end, and return its status; None when it lives on."""
        deadline = Deadline(self.deadline)
        while self.process.poll() is None and not deadline.passed():
            time.sleep(PAUSE)
        return self.process.poll()

    def close(self) -> None:
        """Hang up, and wait for its end and that of what it has started."""
        left = self.descendants()
        self.stream.close()
        if self.wait() is None:
            self.process.kill()
            self.process.wait()
        for process in left:
            process.kill()
        self._stderr.close()


class Daemon(DaemonProcess):
    """A daemon as a process that tests talk to, once it has been greeted by `hello`."""

    def __init__(self, binary: Path, **options: Any) -> None:
        """Start it; the options are a `DaemonProcess`'s."""
        super().__init__(binary, **options)
        self.stream.settimeout(self.deadline)
        self._decoder = codec.Decoder("guest")
        self._id = 0
        self._token = 0

    def send(self, *items: codec.Message | bytes) -> None:
        """Write frames, or any bytes, in one piece."""
        data = b"".join(i if isinstance(i, bytes) else i.encode() for i in items)
        self.stream.sendall(data)

    def send_each(self, *pieces: bytes) -> None:
        """Write bytes in these pieces."""
        for piece in pieces:
            self.stream.sendall(piece)

    def receive(self) -> codec.Message:
        """Return the next message."""
        while (message := self._decoder.next_message()) is None:
            data = self.stream.recv(1 << 18)
            assert data, f"the daemon has closed its port; {self.report()}"
            self._decoder.receive_data(data)
        return message

    def receive_until(self, kind: type[M]) -> tuple[list[codec.Message], M]:
        """Return the next message of a kind, and what came before it."""
        before: list[codec.Message] = []
        while not isinstance(message := self.receive(), kind):
            before.append(message)
        return before, message

    def expect(self, *messages: codec.Message) -> None:
        """Receive exactly these."""
        for message in messages:
            assert self.receive() == message

    def expect_end(self) -> None:
        """Receive no more than the end of the stream."""
        assert self._decoder.next_message() is None
        assert self.stream.recv(1) == b""

    def hello(self, nonce: int = 1) -> codec.Ready:
        """Start afresh; nothing but the answer may come."""
        self.send(hello(nonce))
        ready = self.receive()
        assert isinstance(ready, codec.Ready)
        assert ready.nonce == nonce
        self._id = 0
        return ready

    def sync(self) -> list[codec.Message]:
        """Have a ping answered; return what came before the answer."""
        self._token += 1
        self.send(codec.Ping(self._token))
        before, pong = self.receive_until(codec.Pong)
        assert pong.token == self._token
        return before

    def status(self) -> codec.Status:
        """Return its counters; nothing may run."""
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
    ) -> int:
        """Ask for a command, and return its id.

        :param fed: whether its standard input comes from us.
        :param size: lines and columns of its terminal.
        :param limits: of processes and memory.
        """
        self._id += 1
        command = argv[0] if command is None else command
        err = credit if stderr_credit is None else stderr_credit
        self.send(
            codec.ExecRequest(
                self._id,
                command,
                cwd,
                argv,
                tuple(env),
                credit,
                err,
                user,
                codec.StdinKind.HOST if fed else codec.StdinKind.NULL,
                *size,
                *limits,
                more_argv=tuple(more_argv),
                more_env=tuple(more_env),
            )
        )
        return self._id

    def sh(self, script: str, **options: Any) -> int:
        """Ask for a shell script, and return its id."""
        return self.start(b"sh", b"-c", script.encode(), **options)

    def finish(self, id_: int) -> Result:
        """Take a command's output until it has ended."""
        output: dict[codec.Stream, list[bytes]] = {stream: [] for stream in codec.Stream}
        others: list[codec.Message] = []
        while True:
            message = self.receive()
            match message:
                case codec.ExecOutput():
                    assert message.id == id_
                    assert len(message.data) > 0
                    output[message.stream].append(bytes(message.data))
                case codec.ExecResponse() | codec.ExecFailed():
                    assert message.id == id_
                    out, err = (b"".join(output[stream]) for stream in codec.Stream)
                    return Result(out, err, message, others)
                case _:
                    others.append(message)

    def run(
        self,
        *argv: bytes,
        command: bytes | None = None,
        env: Sequence[bytes] = (),
        cwd: bytes = b"",
        user: bytes = b"",
    ) -> Result:
        """Run a command to its end."""
        return self.finish(self.start(*argv, command=command, env=env, cwd=cwd, user=user))

    def run_sh(self, script: str, **options: Any) -> Result:
        """Run a shell script to its end."""
        return self.finish(self.sh(script, **options))

    def feed(self, id_: int, data: bytes) -> None:
        """Send standard input, and no end; the test knows that there is credit for it."""
        for at in range(0, len(data), codec.ExecStdin.MAX_BODY):
            self.send(codec.ExecStdin(id_, data[at : at + codec.ExecStdin.MAX_BODY]))

    def end_input(self, id_: int) -> None:
        """Send the end of standard input."""
        self.send(codec.ExecStdin(id_, b""))

    def wait_credit(self) -> int:
        """Take credit for standard input; return how much."""
        message = self.receive()
        assert isinstance(message, codec.ExecStdinCredit), message
        return message.amount

    def read(self, size: int) -> bytes:
        """Take output of one stream until it is this long."""
        data = b""
        while len(data) < size:
            message = self.receive()
            assert isinstance(message, codec.ExecOutput), message
            data += message.data
        return data

    def read_lines(self, count: int) -> list[bytes]:
        """Take output up to the end of a line, which is the last one of so many."""
        data = b""
        while data.count(b"\n") < count or not data.endswith(b"\n"):
            data += self.read(1)
        lines = data.splitlines()
        assert len(lines) == count
        return lines

    def read_line(self) -> bytes:
        """Take one line of output, with nothing behind it."""
        return self.read_lines(1)[0]

    def sleeper(self) -> int:
        """Start a command that lasts; return its pid."""
        self.sh("echo $$; exec sleep 1000")
        return int(self.read_line())

    def comes_to_rest(self) -> None:
        """Wait until it sleeps and takes no processor time: a daemon that spins never does."""
        eventually(self._is_idle)

    def _is_idle(self) -> bool:
        before = self._used_ns()
        time.sleep(0.05)
        return state(self.pid) == "S" and self._used_ns() == before

    def _used_ns(self) -> int:
        """Processor time that it has used."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0])

    def fill(self, frame: bytes) -> int:
        """Write copies of a frame until it takes no more; return how many."""
        count, rest = 0, b""
        self.stream.settimeout(0)
        while True:
            rest = rest or frame
            try:
                rest = rest[self.stream.send(rest) :]
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
        """Hang up, unless the test has ended it; it must end well, and without complaint."""
        self.stream.close()
        status, report, words = self.wait(), self.report(), self.words()
        super().close()
        assert status in (0, -signal.SIGTERM), report
        assert not words, report


def hello(nonce: int) -> bytes:
    """Return a hello as it should be."""
    return codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce).encode()


def build_sanitized(folder: Path, guest: Path = GUEST) -> Path:
    """Compile the daemon, and what is beside it, with ASan and UBSan into a folder.

    :param guest: the folder of its source.
    """
    path = folder / "sandboxd"
    command = ["make", "-s", "-C", str(guest), "sanitized", f"OUT={folder}", "CC=gcc"]
    subprocess.run(command, check=True, timeout=120)
    return path
