"""What is fuzzed: a daemon behind a byte stream, as a process or in a machine."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import socket
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from microvm import codec
from microvm.console import Console
from microvm.qemu import Qemu
from microvm.qemu_command import QemuConfig
from microvm_image.image import Image

GUEST = Path(__file__).resolve().parents[1] / "guest"

_APART = 100
"""So many pieces are waited for until they have been read; what follows may be read together."""


class Lost(AssertionError):
    """The daemon does not answer, or is gone."""


class Target(Protocol):
    """A daemon that lives until it is closed; `stream` is a blocking socket to it."""

    deadline: float
    stream: socket.socket

    def report(self) -> str:
        """Say what has become of it."""

    def close(self) -> None:
        """End it."""


class Process:
    """The daemon as a process on this machine."""

    deadline = 10.0

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
        self._stderr.seek(0)
        text = self._stderr.read().decode(errors="replace")
        return f"the daemon's status is {self._process.poll()}\n{text}"

    def close(self) -> None:
        """Hang up, and wait for its end."""
        self.stream.close()
        try:
            self._process.wait(self.deadline)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()


class Machine:
    """The daemon in a real guest, over virtio-serial.

    The event loop that QEMU belongs to turns only while one of these methods runs.
    """

    deadline = 30.0

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
) -> list[codec.Message]:
    """Write these pieces apart, and read meanwhile and after until there is enough.

    :raise Lost: that did not come in time, or the stream has ended.
    :raise DecodeError: what came is malformed.
    """
    stream = target.stream
    deadline = time.monotonic() + target.deadline
    answers: list[codec.Message] = []

    def turn(*, writing: bool, patience: float) -> bool:
        if time.monotonic() > deadline:
            raise Lost(f"no answer in time; {len(answers)} came: {answers[-3:]}; {target.report()}")
        readable, writable, _ = select.select(
            [stream], [stream] if writing else [], [], min(patience, target.deadline)
        )
        if readable:
            try:
                data = stream.recv(1 << 18)
            except ConnectionError:
                data = b""
            if not data:
                raise Lost(f"the stream has ended; {target.report()}")
            decoder.receive_data(data)
            while (message := decoder.next_message()) is not None:
                answers.append(message)
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
                    raise Lost(f"the stream has ended; {target.report()}") from None
        while number < _APART and _unread(stream):
            turn(writing=False, patience=0.0002)
    while not enough(answers):
        turn(writing=False, patience=patience)
    return answers


def _unread(stream: socket.socket) -> bool:
    """Whether the other end has yet to read something."""
    answer = fcntl.ioctl(stream, termios.TIOCOUTQ, struct.pack("i", 0))
    return bool(struct.unpack("i", answer)[0])


def build_sanitized(folder: Path) -> Path:
    """Compile the daemon with ASan and UBSan."""
    path = folder / "sandboxd"
    command = ["make", "-s", "-C", str(GUEST), "sanitized", f"OUT={path}", "CC=gcc"]
    subprocess.run(command, check=True, timeout=120)
    return path
