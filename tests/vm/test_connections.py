"""Tests of connections to servers in a real guest."""

from __future__ import annotations

import asyncio
import errno

import pytest

from microvm import Busy, MicroVM, StreamError, sync
from microvm.images import Image

PORT = 7000
SERVE = f"""nc -lk -p {PORT} -e cat >/dev/null 2>&1 &
while ! netstat -ltn | grep -q :{PORT}; do :; done"""


@pytest.mark.asyncio(loop_scope="session")
async def test_streams_and_commands_take_turns(vm: MicroVM) -> None:
    with pytest.raises(StreamError) as caught:
        await vm.connect(PORT)
    assert caught.value.errno == errno.ECONNREFUSED
    await vm.run(["sh", "-c", SERVE], check=True)
    for text in (b"one", b"two"):
        reader, writer = await vm.connect(PORT)
        with pytest.raises(Busy):
            await vm.run(["true"])
        writer.write(text)
        writer.write_eof()
        assert await reader.read() == text
        writer.close()
        await writer.wait_closed()
        await vm.run(["true"], check=True)
    async with await vm.forward(0, PORT) as forward:
        reader, writer = await asyncio.open_connection(*forward.address)
        writer.write(bytes(1 << 20))
        writer.write_eof()
        assert await reader.read() == bytes(1 << 20)
        writer.close()
        await writer.wait_closed()
    await vm.run(["pkill", "nc"], check=True)


def test_sync_machine_returns_a_connected_socket(image: Image) -> None:
    with sync.MicroVM(image) as vm:
        vm.run(["sh", "-c", SERVE], check=True)
        with vm.connect(PORT) as connection:
            connection.settimeout(60)
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
        with vm.forward(0, PORT) as forward:
            assert forward.address[0] == "127.0.0.1"
