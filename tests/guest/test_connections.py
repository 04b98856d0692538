"""Tests of connections from the host, through the daemon and relay, to servers."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.daemon import DaemonProcess
from tests.support.polling import comes_true
from tests.support.relay import AT_ONCE

from microvm.errors import Busy, GuestDied, StreamError, UsageError
from microvm.guest import clients, relay, stream_transport
from microvm.guest.connections import Connections
from microvm.guest.guest import Guest
from microvm.guest.program import program_options
from microvm.guest.reverse import ReverseTarget
from microvm.wire import streams
from microvm.wire.stream_session import WINDOW

Serve = Callable[[StreamReader, StreamWriter], Awaitable[None]]

SIZE = 8 << 20  # more bytes than the buffers of all programs hold
MOST_UNREAD = WINDOW + (1 << 18)  # bytes that the host may store of an unread stream


@pytest.fixture
async def guest(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Guest]:
    """A guest whose daemon is a process of this host."""
    monkeypatch.setattr(relay, "_OPTIONS", program_options(str(shipped.with_name("relay"))))
    with closing(DaemonProcess(shipped)) as daemon:
        guest = Guest()
        await guest.connect(daemon.stream.dup())
        await guest.ready(20)
        yield guest
        assert guest.error is None
        guest.fail(GuestDied("the test is over"))
        await asyncio.sleep(0)


@pytest.fixture
def connections(guest: Guest) -> Connections:
    return Connections(lambda: guest, object())


@pytest.fixture
async def serving() -> AsyncIterator[Callable[[Serve], Awaitable[int]]]:
    """A function that starts a server, and returns its port."""
    servers: list[asyncio.Server] = []

    async def start(serve: Serve) -> int:
        async def finished(reader: StreamReader, writer: StreamWriter) -> None:
            with suppress(ConnectionError):
                await serve(reader, writer)
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

        servers.append(await asyncio.start_server(finished, "127.0.0.1", 0, backlog=300))
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()
    await until_alone()


Serving = Callable[[Serve], Awaitable[int]]


async def echo(reader: StreamReader, writer: StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def close(writer: StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def free(guest: Guest) -> bool:
    """Return True if the machine can run a command."""
    process = await guest.start(["true"], program_options("true"))
    return await process.wait() == 0


async def until_alone() -> None:
    """Wait until all other tasks have ended, such as those of servers."""
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others)


async def test_streams_transfer_data_and_their_ends(
    guest: Guest, connections: Connections, serving: Serving
) -> None:
    port = await serving(echo)
    reader, writer = await connections.open(port, 20)
    assert writer.get_extra_info("peername") == port
    writer.write(b"hello\n")
    assert await reader.readline() == b"hello\n"
    writer.write(b"last")
    writer.write_eof()
    assert await reader.read() == b"last"
    await close(writer)
    assert await free(guest)


async def test_failed_connection_leaves_the_machine_free(
    guest: Guest, connections: Connections, tmp_path: Path
) -> None:
    with pytest.raises(StreamError, match=r"none in the guest: No such file") as caught:
        await connections.open(str(tmp_path / "none"), 20)
    assert isinstance(caught.value, ConnectionError)
    assert (caught.value.errno, caught.value.server) == (errno.ENOENT, str(tmp_path / "none"))
    assert await free(guest)


async def test_connection_that_is_not_accepted_times_out(
    connections: Connections, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen(0)
        writers: list[StreamWriter] = []

        async def fill_queue() -> None:
            while True:
                writers.append((await connections.open(str(tmp_path / "socket"), 0.3))[1])

        with pytest.raises(StreamError) as caught:
            await fill_queue()
        assert caught.value.errno == errno.ETIMEDOUT
        for writer in writers:
            writer.transport.abort()
            await writer.wait_closed()


@pytest.mark.thorough
async def test_commands_are_refused_while_a_stream_is_open(
    guest: Guest, connections: Connections, serving: Serving
) -> None:
    _, writer = await connections.open(await serving(echo), 20)
    with pytest.raises(Busy):
        await guest.start(["true"], program_options("true"))
    await close(writer)


async def test_reset_by_the_server_is_an_error(connections: Connections, serving: Serving) -> None:
    async def reset(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        writer.transport.abort()

    reader, writer = await connections.open(await serving(reset), 20)
    writer.write(b"x")
    with pytest.raises(StreamError) as caught:
        await reader.read()
    assert caught.value.errno == errno.ECONNRESET
    writer.close()
    with pytest.raises(StreamError):
        await writer.wait_closed()


async def test_paused_reader_delays_only_its_server(
    connections: Connections, serving: Serving
) -> None:
    sent = 0

    async def flood(_: StreamReader, writer: StreamWriter) -> None:
        nonlocal sent
        while sent < SIZE:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    reader, writer = await connections.open(await serving(flood), 20)
    other, ping = await connections.open(await serving(echo), 20)

    def unread() -> int:
        return len(getattr(reader, "_buffer")) + len(getattr(writer.transport, "_unread"))  # noqa: B009

    await comes_true(lambda: unread() >= WINDOW)
    for _ in range(50):
        ping.write(b"ping")
        assert await other.readexactly(4) == b"ping"
    assert sent < SIZE
    assert unread() <= MOST_UNREAD
    assert len(await reader.read()) == SIZE
    await asyncio.gather(close(writer), close(ping))


@pytest.mark.thorough
async def test_drain_waits_while_the_server_reads_nothing(
    connections: Connections, serving: Serving
) -> None:
    may_read = asyncio.Event()
    received = asyncio.get_running_loop().create_future()

    async def late(reader: StreamReader, writer: StreamWriter) -> None:
        transport = cast(asyncio.Transport, writer.transport)
        transport.pause_reading()
        await may_read.wait()
        transport.resume_reading()
        received.set_result(len(await reader.read()))

    _, writer = await connections.open(await serving(late), 20)
    written = 0

    async def flood() -> None:
        nonlocal written
        while True:
            writer.write(bytes(1 << 18))
            written += 1 << 18
            await asyncio.wait_for(writer.drain(), 1)

    with pytest.raises(TimeoutError):
        await flood()
    may_read.set()
    await close(writer)
    assert await received == written


async def test_many_streams_at_once(connections: Connections, serving: Serving) -> None:
    port = await serving(echo)

    async def talk(number: int) -> None:
        reader, writer = await connections.open(port, 60)
        data = b"%d " % number * 5000
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
        await close(writer)

    await asyncio.gather(*map(talk, range(200)))


@pytest.mark.thorough
async def test_closed_stream_ends_though_the_server_stays(
    guest: Guest, connections: Connections, serving: Serving
) -> None:
    got = asyncio.get_running_loop().create_future()

    async def stay(reader: StreamReader, writer: StreamWriter) -> None:
        got.set_result(await reader.read())
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    _, writer = await connections.open(await serving(stay), 20)
    writer.write(b"question")
    await asyncio.wait_for(close(writer), 20)
    assert await got == b"question"
    assert await free(guest)
    await until_alone()


@pytest.mark.thorough
async def test_closed_stream_ends_though_the_server_reads_nothing(
    guest: Guest, connections: Connections, serving: Serving
) -> None:
    """The reset discards data that neither the guest nor the server has room for."""
    closed = asyncio.Event()

    async def read_nothing(_: StreamReader, writer: StreamWriter) -> None:
        transport = cast(asyncio.Transport, writer.transport)
        transport.pause_reading()
        await closed.wait()

    _, writer = await connections.open(await serving(read_nothing), 20)
    writer.write(bytes(SIZE))
    with pytest.raises(StreamError, match="Connection timed out") as caught:
        await asyncio.wait_for(close(writer), 20)
    assert caught.value.errno == errno.ETIMEDOUT
    assert await free(guest)
    closed.set()
    await until_alone()


@pytest.mark.thorough
async def test_closed_stream_stays_while_the_server_reads(
    connections: Connections, tmp_path: Path
) -> None:
    """A server gets all data, even if it needs longer than the limit for a server that is idle."""
    loop = asyncio.get_running_loop()
    received = loop.create_future()

    async def slow(reader: StreamReader, writer: StreamWriter) -> None:
        size = 0
        while data := await reader.read(1 << 16):
            size += len(data)
            await asyncio.sleep(0.03)
        received.set_result(size)
        writer.close()

    # A Unix socket has small buffers, so the reset would discard data that the host has not sent.
    async with await asyncio.start_unix_server(slow, tmp_path / "socket"):
        _, writer = await connections.open(str(tmp_path / "socket"), 20)
        begin = loop.time()
        writer.write(bytes(SIZE // 2))
        await close(writer)
        assert loop.time() - begin > stream_transport.LINGER
        assert await received == SIZE // 2


async def test_forwarded_port_leads_to_the_server(
    connections: Connections, serving: Serving
) -> None:
    async with await connections.forward(0, await serving(echo), "127.0.0.1", 20) as forward:
        ends = [await asyncio.open_connection(*forward.address) for _ in range(3)]
        for number, (_, writer) in enumerate(ends):
            writer.write(b"%d" % number * SIZE)
            writer.write_eof()
        for number, (reader, writer) in enumerate(ends):
            assert await reader.read() == b"%d" % number * SIZE
            await close(writer)
        reader, writer = await asyncio.open_connection(*forward.address)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*forward.address)
    writer.close()


async def test_clients_beyond_the_limit_are_reset(
    connections: Connections, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five clients connect. Two of them exceed the limit, so their connections are reset."""
    monkeypatch.setattr(clients, "MOST_CLIENTS", 3)
    async with await connections.forward(0, await serving(echo), "127.0.0.1", 20) as forward:
        ends = [await asyncio.open_connection(*forward.address) for _ in range(5)]
        for _, writer in ends:
            writer.write(b"x")
        answers = await asyncio.gather(
            *(reader.readexactly(1) for reader, _ in ends), return_exceptions=True
        )
        assert answers.count(b"x") == 3
        assert sum(isinstance(each, ConnectionError) for each in answers) == 2
        for _, writer in ends:
            writer.transport.abort()


async def test_forward_to_a_closed_port_resets_the_client(connections: Connections) -> None:
    async with await connections.forward(0, "/none", "127.0.0.1", 20) as forward:
        reader, writer = await asyncio.open_connection(*forward.address)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)
        writer.close()


@pytest.fixture(params=["tcp", "unix", "function"])
async def target(
    request: pytest.FixtureRequest, serving: Serving, tmp_path: Path
) -> AsyncIterator[ReverseTarget]:
    """Yield a target that sends all bytes back: a server, a Unix socket or a function."""
    if request.param == "tcp":
        yield "127.0.0.1", await serving(echo)
    elif request.param == "function":
        yield echo
    else:
        async with await asyncio.start_unix_server(echo_and_close, tmp_path / "socket"):
            yield tmp_path / "socket"


async def echo_and_close(reader: StreamReader, writer: StreamWriter) -> None:
    await echo(reader, writer)
    writer.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_clients_in_the_guest_reach_the_target(
    guest: Guest, connections: Connections, target: ReverseTarget, address: str
) -> None:
    """The daemon under test is a process of this host, so the test itself can be the client."""
    async with await connections.reverse(0, target, 20) as reverse:
        ends = [await asyncio.open_connection(address, reverse.port) for _ in range(3)]
        for number, (_, writer) in enumerate(ends):
            writer.write(b"%d" % number * SIZE)
            writer.write_eof()
        for number, (reader, writer) in enumerate(ends):
            assert await reader.read() == b"%d" % number * SIZE
            await close(writer)
        reader, writer = await asyncio.open_connection(address, reverse.port)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address, reverse.port)
    writer.close()
    assert await free(guest)


async def test_full_port_leaves_room_for_others(connections: Connections, serving: Serving) -> None:
    """Clients in the guest fill one port, and the host can still connect to a server."""
    served = asyncio.Semaphore(0)

    async def stay(reader: StreamReader, _: StreamWriter) -> None:
        served.release()
        await reader.read()

    async with await connections.reverse(0, stay, 20) as reverse:
        ends = [
            await asyncio.open_connection("127.0.0.1", reverse.port)
            for _ in range(streams.MAX_STREAMS)
        ]
        for _ in range(clients.MOST_CLIENTS):
            await served.acquire()
        reader, writer = await connections.open(await serving(echo), 20)
        writer.write(b"x")
        assert await reader.read(1) == b"x"
        await close(writer)
        for _, client in ends:
            client.transport.abort()


async def test_client_is_reset_if_the_target_cannot_be_reached(
    guest: Guest, connections: Connections
) -> None:
    async with await connections.reverse(0, "/nowhere/socket", 20) as reverse:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", reverse.port)
            with pytest.raises(ConnectionResetError):
                await reader.readexactly(1)
            writer.close()
    assert await free(guest)


async def test_client_is_reset_if_the_function_fails(connections: Connections) -> None:
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def fail(_: StreamReader, writer: StreamWriter) -> None:
        writer.write(b"unsent")
        raise ValueError("broken")

    async with await connections.reverse(0, fail, 20) as reverse:
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", reverse.port)
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
    if sys.version_info >= (3, 12):
        assert [str(each["exception"]) for each in told] == ["broken"] * 3


async def test_port_of_the_guest_that_is_in_use(
    guest: Guest, connections: Connections, serving: Serving
) -> None:
    port = await serving(echo)
    with pytest.raises(StreamError, match=f"cannot listen on port {port}: Address") as caught:
        await connections.reverse(port, echo, 20)
    assert caught.value.errno == errno.EADDRINUSE
    assert await free(guest)


@pytest.mark.thorough
async def test_port_survives_the_program(guest: Guest, connections: Connections) -> None:
    """If `relay` is killed, it is started again, and the port leads to the target again."""
    async with await connections.reverse(0, echo, 20) as reverse:
        reader, writer = await asyncio.open_connection("127.0.0.1", reverse.port)
        assert connections._relay is not None
        connections._relay._process.kill()
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()

        async def connect() -> tuple[StreamReader, StreamWriter]:
            while True:
                with suppress(ConnectionRefusedError):
                    return await asyncio.open_connection("127.0.0.1", reverse.port)
                await asyncio.sleep(0.01)

        reader, writer = await asyncio.wait_for(connect(), 20)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        await close(writer)
    assert await free(guest)


@pytest.mark.parametrize(
    "target", ["localhost:80", "", ("127.0.0.1", 0), ("", 80), ("x", 65536), ("x", "80"), 80, None]
)
async def test_invalid_target_is_a_usage_error(connections: Connections, target: Any) -> None:
    with pytest.raises(UsageError, match=r"cannot connect to .* on the host"):
        await connections.reverse(0, target, 20)


async def test_socket_of_the_host_is_connected(connections: Connections, serving: Serving) -> None:
    theirs = await connections.open_socket(await serving(echo), 20)
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=theirs)
    writer.write(bytes(SIZE))
    writer.write_eof()
    assert await reader.read() == bytes(SIZE)
    await close(writer)
    await until_alone()
