"""What is fuzzed: a daemon behind a byte stream, as a process or in a machine."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from microvm.qemu.command import QemuConfig
from microvm.qemu.console import Console
from microvm.qemu.process import Qemu
from microvm.wire import codec
from microvm_image.image import Image

GUEST = Path(__file__).resolve().parents[2] / "guest"

_APART = 100
"""Of so many pieces each is sent when the one before it has been read."""


PLENTY = 1 << 18
"""So much is read at a time, in bytes."""


class Lost(AssertionError):
    """The daemon does not answer, or is gone.

    :ivar what: which of these, in a few words.
    :ivar ended: whether its stream has ended.
    """

    def __init__(self, what: str, detail: object = "", *, ended: bool = False) -> None:
        """Take which of these, and the particulars."""
        super().__init__(f"{what}; {detail}")
        self.what = what
        self.ended = ended


class Target(Protocol):
    """A daemon that lives until it is closed; `stream` is a blocking socket to it.

    :ivar is_init: whether it is PID 1, so that a hello ends every process.
    """

    deadline: float
    is_init: bool
    stream: socket.socket

    def report(self) -> str:
        """Say what has become of it."""

    def end_strays(self) -> None:
        """End what commands have left behind, where a hello does not."""

    def close(self) -> None:
        """End it."""


@dataclass(frozen=True)
class Child:
    """A process that a daemon has started or taken over."""

    pid: int
    since: str

    def is_there(self) -> bool:
        """Whether it lives, or is a zombie."""
        return bool(self.since) and _started(self.pid) == self.since

    def runs(self) -> bool:
        """Whether it lives; a zombie does not."""
        return self.is_there() and _fields(self.pid)[:1] != ["Z"]

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.runs():
                    signal.pidfd_send_signal(fd, signal.SIGKILL)
            finally:
                os.close(fd)


class Process:
    """The daemon as a process on this machine."""

    deadline = 10.0
    is_init = False

    def __init__(self, binary: Path) -> None:
        """Start it."""
        self.stream, theirs = socket.socketpair()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            self._process = subprocess.Popen(
                [binary, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stderr=self._stderr,
            )

    def report(self) -> str:
        """Return its status and what the sanitizers said."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        return f"the daemon's status is {self._process.poll()}\n{self.words()}"

    def words(self) -> str:
        """Return what it, the sanitizers or their runtime have written to standard error."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def children(self) -> list[Child]:
        """Return the processes that it has started or taken over, the newest last."""
        return _children(self._process.pid)

    def family(self) -> list[Child]:
        """Return its children, theirs, and so on."""
        found = self.children()
        for child in found:
            found += _children(child.pid)
        return found

    def end_strays(self) -> None:
        """Kill what commands have left behind; to be called while none is in flight."""
        for child in self.children():
            child.kill()

    def wait(self) -> int | None:
        """Wait for its end, and return its status; None when it lives on."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(self.deadline)
        return self._process.poll()

    def close(self) -> None:
        """Hang up, and wait for its end and that of its children."""
        family = self.family()
        self.stream.close()
        if self.wait() is None:
            self._process.kill()
            self._process.wait()
        for child in family:
            child.kill()
        self._stderr.close()


class Machine:
    """The daemon in a real guest, over virtio-serial.

    The event loop that QEMU belongs to turns only while one of these methods runs.
    """

    deadline = 30.0
    is_init = True

    def __init__(self, image: Image) -> None:
        """Boot it."""
        self._loop = asyncio.new_event_loop()
        self._console = Console(None)
        config = QemuConfig(
            kernel=image.kernel,
            initramfs=image.initramfs,
            bus=image.manifest.bus,
            accel="tcg",
            arch=image.manifest.arch,
        )
        self._qemu = self._loop.run_until_complete(Qemu.start(config, console=self._console))
        self.stream = self._qemu.take_port()
        self.stream.setblocking(True)

    def report(self) -> str:
        """Return how QEMU has ended, if it has, and the end of the console."""

        async def ending() -> str:
            try:
                async with asyncio.timeout(1):
                    return (await self._qemu.wait()).text
            except TimeoutError:
                return "QEMU runs"

        text = self._loop.run_until_complete(ending())
        return f"{text}; the console's end:\n{self._console.tail()}"

    def end_strays(self) -> None:
        """Do nothing: a hello has ended them."""

    def close(self) -> None:
        """End QEMU."""
        self.stream.close()
        try:
            self._loop.run_until_complete(self._qemu.stop())
        finally:
            self._console.close()
            self._loop.close()


def exchange(
    target: Target,
    decoder: codec.Decoder,
    pieces: Sequence[bytes],
    enough: Callable[[list[codec.Message]], bool],
    *,
    patience: float = 1.0,
    answers: list[codec.Message] | None = None,
    read_size: int = PLENTY,
    versions: deque[int] | None = None,
) -> list[codec.Message]:
    """Write these pieces apart, and read meanwhile and after until there is enough.

    :param answers: what has come already, to which is added.
    :param versions: what both speak after each `ready` that is still to come; those are taken away.
    :param read_size: how much to read at a time.
    :raises Lost: that did not come in time, or the stream has ended.
    :raises DecodeError: what came is malformed.
    """
    stream = target.stream
    deadline = time.monotonic() + target.deadline
    answers = [] if answers is None else answers

    def turn(*, writing: bool, patience: float) -> bool:
        if time.monotonic() > deadline:
            came = f"{len(answers)} came: {answers[-3:]}"
            raise Lost("no answer in time", f"{came}; {target.report()}")
        readable, writable, _ = select.select(
            [stream], [stream] if writing else [], [], min(patience, target.deadline)
        )
        if readable:
            try:
                data = stream.recv(read_size)
            except ConnectionError:
                data = b""
            if not data:
                raise Lost("the stream has ended", target.report(), ended=True)
            decoder.receive_data(data)
            while (message := decoder.next_message()) is not None:
                answers.append(message)
                if versions and isinstance(message, codec.Ready):
                    decoder.version = versions.popleft()
        return bool(writable)

    for number, piece in enumerate(pieces):
        rest = piece
        while rest:
            if turn(writing=True, patience=1.0):
                try:
                    rest = rest[stream.send(rest, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    continue
                except ConnectionError:
                    raise Lost("the stream has ended", target.report(), ended=True) from None
        while number < min(_APART, len(pieces) - 1) and unread(stream, theirs=True):
            turn(writing=False, patience=0.0002)
    while not enough(answers):
        turn(writing=False, patience=patience)
    return answers


def _children(pid: int) -> list[Child]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [Child(int(child), _started(int(child))) for child in text.split()]


def _fields(pid: int) -> list[str]:
    """What proc(5) says of a process, from its state on; nothing when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _started(pid: int) -> str:
    """When a process was started, which no other of that number was; empty when there is none."""
    return "".join(_fields(pid)[19:20])


def unread(stream: socket.socket, *, theirs: bool = False) -> int:
    """Return how many bytes we have yet to read, or the other end."""
    which = termios.TIOCOUTQ if theirs else termios.FIONREAD
    size: int = struct.unpack("i", fcntl.ioctl(stream, which, struct.pack("i", 0)))[0]
    return size


def build_sanitized(folder: Path) -> Path:
    """Compile the daemon with ASan and UBSan."""
    path = folder / "sandboxd"
    command = ["make", "-s", "-C", str(GUEST), "sanitized", f"OUT={path}", "CC=gcc"]
    subprocess.run(command, check=True, timeout=120)
    return path
