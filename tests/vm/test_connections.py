"""Tests of connections to servers and clients in a real guest."""

from __future__ import annotations

import asyncio
import errno
import socket
from asyncio import StreamReader, StreamWriter

import pytest
from tests.support.processes import open_files

from microvm import Busy, MicroVM, StreamError, sync
from microvm.images import Image

PORT = 7000
SERVE = f"""nc -lk -p {PORT} -e cat >/dev/null 2>&1 &
while ! netstat -ltn | grep -q :{PORT}; do :; done"""


@pytest.mark.thorough
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


async def descriptors(vm: MicroVM) -> tuple[int, int]:
    """Return how many descriptors this process and the processes of the guest have open."""
    result = await vm.run(["sh", "-c", "ls -d /proc/[0-9]*/fd/* | wc -l"], check=True)
    return len(open_files()), int(result.stdout)


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


@pytest.mark.thorough
@pytest.mark.asyncio(loop_scope="session")
async def test_clients_in_the_guest_reach_only_the_target(image: Image) -> None:
    """The clients run as an ordinary user, use both loopback addresses, and are 200 at a time."""

    async def said(script: str, user: str = "nobody") -> str:
        result = await vm.run(["sh", "-c", script], user=user, text=True)
        return result.stdout

    async with MicroVM(image, commands=2) as vm, await vm.reverse(PORT, echo):
        assert await said(f"echo four | nc 127.0.0.1 {PORT}; echo six | nc ::1 {PORT}") == (
            "four\nsix\n"
        )
        many = f"for i in $(seq 200); do (echo $i | nc 127.0.0.1 {PORT}) & done; wait"
        assert sorted(map(int, (await said(many)).split())) == list(range(1, 201))
        assert await said("netstat -ltn | grep -c :") == "2\n"
        # Root kills `relay`. The client tries again until it gets an answer, because a connection
        # that `relay` has just accepted may be closed without one.
        client = f"echo again | nc 127.0.0.1 {PORT} 2>/dev/null | grep again"
        again = f"pkill relay; until {client}; do sleep 0.1; done"
        assert await said(again, "root") == "again\n"


def test_function_of_a_sync_machine_gets_a_socket(image: Image) -> None:
    def answer(client: socket.socket) -> None:
        client.settimeout(60)
        client.sendall(client.recv(100).upper())

    with sync.MicroVM(image, commands=2) as vm, vm.reverse(0, answer) as reverse:
        command = f"echo hello | nc 127.0.0.1 {reverse.port}"
        assert vm.run(["sh", "-c", command], text=True).stdout == "HELLO\n"
