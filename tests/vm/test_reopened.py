"""Tests of a port that several hosts open in sequence. Each host finds the guest unaffected."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.machine import config_of

from microvm.images import Image
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.launch import find_qemu, qemu_arguments
from microvm.wire import codec

from .conftest import DEADLINE

pytestmark = pytest.mark.thorough


class Reopened:
    """A guest whose port is a socket with a path, so that hosts can connect again."""

    def __init__(self, image: Image, folder: Path, *, kernel: str = "") -> None:
        """Boot the guest; `kernel` is added to the command line of the kernel."""
        self.kernel = kernel
        self.path = folder / "port"
        config = config_of(image)
        self.process = subprocess.Popen(
            [find_qemu(config.arch), *self._arguments(config)],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _arguments(self, config: QemuConfig) -> Iterator[str]:
        """Return the usual arguments of QEMU, without QMP and with a port that has a path."""
        files = {"-kernel": str(config.kernel), "-initrd": str(config.initramfs)}
        given = iter(qemu_arguments(config))
        for argument in given:
            if argument == "-mon":
                next(given)
            elif argument in files:
                next(given)
                yield from (argument, files[argument])
            elif argument == "-append":
                yield from (argument, f"{next(given)} {self.kernel}")
            elif argument.startswith("socket,id=port,"):
                yield f"socket,id=port,path={self.path},server=on,wait=off"
            elif argument.startswith("socket,id="):
                yield "null,id=" + argument.split(",")[1].removeprefix("id=")
            elif argument != "-S":
                yield argument

    def open(self) -> socket.socket:
        """Connect to the port as another host."""
        deadline = time.monotonic() + DEADLINE
        while True:
            port = socket.socket(socket.AF_UNIX)
            try:
                port.connect(str(self.path))
            except OSError:
                port.close()
                assert time.monotonic() < deadline
                time.sleep(0.01)
                continue
            port.settimeout(DEADLINE)
            return port

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own_guest(image: Image, tmp_path: Path) -> Iterator[Reopened]:
    guest = Reopened(image, tmp_path)
    yield guest
    guest.close()


@pytest.fixture(scope="module")
def guest(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reopened]:
    guest = Reopened(image, tmp_path_factory.mktemp("reopened"))
    yield guest
    guest.close()


def greet(port: socket.socket, nonce: int, *, ahead: bytes = b"") -> None:
    """Send a hello, and read until its answer arrives."""
    hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce)
    ready = codec.Ready(codec.VERSION, codec.DIGEST, codec.MAX_BODY, nonce).encode()
    port.sendall(ahead + hello.encode())
    data = b""
    while not data.endswith(ready):
        more = port.recv(1 << 16)
        assert more
        data += more


@contextmanager
def successor(guest: Reopened) -> Iterator[socket.socket]:
    """Connect to the port and send a hello, again if the guest has missed the last close.

    No event shows when the guest has noticed a close. Before, it takes the hello for a part of the
    previous stream.
    """
    for nonce in range(1, 20):
        time.sleep(0.1 * nonce)
        with guest.open() as port:
            port.settimeout(1.0)
            try:
                greet(port, 100 + nonce)
            except TimeoutError:
                continue
            port.settimeout(DEADLINE)
            yield port
            return
    raise AssertionError("no hello is answered")


def run(port: socket.socket, script: str, *, wait: bool = True) -> bytes:
    """Run a shell script as the first command after a hello.

    Return its output if `wait` is true.
    """
    argv = (b"sh", b"-c", script.encode())
    kind = codec.StdinKind.NULL
    port.sendall(
        codec.ExecRequest(1, b"sh", b"", argv, (), 1 << 30, 1 << 30, b"", kind, 0, 0, 0, 0).encode()
    )
    output = b""
    decoder = codec.Decoder("guest")
    while wait:
        while (message := decoder.next_message()) is None:
            decoder.receive_data(port.recv(1 << 16))
        if isinstance(message, codec.ExecResponse):
            break
        assert isinstance(message, codec.ExecOutput)
        output += message.data
    return output


INPUT = codec.ExecStdin(1, bytes(60_000)).encode()
"""An input frame that is longer than all the hellos of a test."""

FILLER = b"\xff" * (codec.HEADER_SIZE + codec.MAX_BODY)
"""Bytes that complete any frame."""


@pytest.mark.parametrize("size", [5, 12, 100])
def test_host_that_leaves_in_the_middle_of_a_frame_has_no_effect(
    guest: Reopened, size: int
) -> None:
    with guest.open() as port:
        greet(port, 1, ahead=FILLER)
        port.sendall(INPUT[:size])
    with successor(guest) as port:
        assert run(port, "echo well") == b"well\n"


def test_command_continues_without_a_host(guest: Reopened) -> None:
    with guest.open() as port:
        greet(port, 1, ahead=FILLER)
        run(
            port,
            "date +%s >/tmp/first; while date +%s >/tmp/n; do mv /tmp/n /tmp/last; sleep 0.1; done",
            wait=False,
        )
    time.sleep(3)
    with successor(guest) as port:
        first, last = run(port, "cat /tmp/first /tmp/last").split()
        assert int(last) - int(first) >= 2


def test_machine_without_a_host_ends_after_a_time(own_guest: Reopened) -> None:
    with own_guest.open() as port:
        greet(port, 1, ahead=FILLER)
        run(port, "sleep 1000", wait=False)
    assert own_guest.process.wait(DEADLINE) == 0
