"""Tests of relay, the program that connects the host to servers in the guest, as a process."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from fuzz.generated import random_messages
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.daemon import both_builds
from tests.support.relay import (
    AT_ONCE,
    TIMEOUT,
    WINDOW,
    Pairs,
    RelayProcess,
    accept,
    client,
    listening,
    port_of,
    receive_all,
)

from microvm.wire import streams
from microvm.wire.streams import (
    Accept,
    Accepted,
    Connect,
    Connected,
    Credit,
    Data,
    Eof,
    Listen,
    Listening,
    NotAccepted,
    NotListening,
    Refused,
    Reset,
)
from microvm_proto.drawing import Sent

any_ = random_messages("streams")
LOST = 1 << 20  # more bytes than the sockets of a connection hold


@pytest.fixture
def start(binary: Path) -> Iterator[Callable[..., RelayProcess]]:
    """A function that starts relay."""
    started: list[RelayProcess] = []

    def start(**options: int) -> RelayProcess:
        started.append(RelayProcess(binary.with_name("relay"), **options))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def relay(start: Callable[..., RelayProcess]) -> RelayProcess:
    return start()


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with listening() as server:
        yield server


@pytest.fixture(params=[None, socket.AF_INET, socket.AF_INET6], ids=["server", "ipv4", "ipv6"])
def pair(request: pytest.FixtureRequest, relay: RelayProcess, server: socket.socket) -> Pairs:
    """Return a function that opens streams, to a server or from clients over IPv4 or IPv6."""
    return Pairs(relay, server, request.param)


@both_builds
def test_data_and_ends_pass_in_both_directions(relay: RelayProcess, pair: Pairs) -> None:
    id_, peer = pair()
    with peer:
        relay.send(Data(id_, b"question"), Eof(id_))
        assert receive_all(peer) == b"question"
        peer.sendall(b"answer")
        assert relay.data(id_, 6) == b"answer"
    relay.next(Eof, id_)
    assert relay.exit() == (0, "")
    assert relay.messages == []


def test_half_closed_connection_still_sends(relay: RelayProcess, pair: Pairs) -> None:
    id_, peer = pair()
    with peer:
        peer.shutdown(socket.SHUT_WR)
        relay.next(Eof, id_)
        relay.send(Data(id_, b"late"), Credit(id_, 1), Eof(id_))
        assert receive_all(peer) == b"late"
    assert relay.exit() == (0, "")


def test_address_of_ipv6_is_tried_after_that_of_ipv4(relay: RelayProcess) -> None:
    with listening(socket.AF_INET6) as server:
        id_ = relay.open(port_of(server))
        with accept(server) as peer:
            assert peer.getpeername()[0] == "::1"
            relay.send(Data(id_, b"six"), Eof(id_))
            assert receive_all(peer) == b"six"


def test_closed_port_and_missing_socket_are_refused(relay: RelayProcess, tmp_path: Path) -> None:
    with listening() as server:
        port = port_of(server)
    assert relay.next(Refused, relay.connect(port)).error_number == errno.ECONNREFUSED
    missing = relay.next(Refused, relay.connect(tmp_path / "none"))
    assert missing.error_number == errno.ENOENT
    assert relay.exit() == (0, "")


def test_unix_socket_with_a_full_queue_is_tried_again(relay: RelayProcess, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen(0)
        server.settimeout(TIMEOUT)
        ids = [relay.connect(tmp_path / "socket") for _ in range(4)]
        for _ in ids:
            with accept(server) as peer:
                peer.sendall(b"x")
        for id_ in ids:
            relay.next(Connected, id_)
            assert relay.data(id_, 1) == b"x"


def test_connection_that_was_reset_is_reported(relay: RelayProcess, pair: Pairs) -> None:
    (id_, one), (other, two) = pair(), pair()
    for peer in (one, two):
        with peer:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    relay.next(Reset, id_)
    relay.next(Reset, other)
    relay.send(Data(id_, b"late"), Credit(id_, 1), Eof(id_), Reset(id_))
    assert relay.exit() == (0, "")


def test_reset_of_the_host_reaches_the_peer(relay: RelayProcess, pair: Pairs) -> None:
    id_, peer = pair()
    with peer:
        relay.send(Reset(id_))
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    assert relay.exit() == (0, "")


def test_connection_can_be_reset_before_it_is_made(
    relay: RelayProcess, server: socket.socket
) -> None:
    relay.send(Reset(relay.connect(port_of(server))))
    assert relay.exit() == (0, "")


@pytest.mark.thorough
def test_peer_that_exits_while_data_wait_resets(relay: RelayProcess, pair: Pairs) -> None:
    id_, peer = pair()
    with peer:
        fill(relay, id_)
    while not any(isinstance(each, Reset) for each in relay.messages):
        assert relay.read()
    assert relay.exit() == (0, "")


def fill(relay: RelayProcess, id_: int) -> int:
    """Send data until no more credit arrives, and return the number of bytes."""
    credit, sent = WINDOW, 0
    while True:
        while credit > 0:
            size = min(credit, streams.Data.MAX_BODY)
            relay.send(Data(id_, bytes(size)))
            credit -= size
            sent += size
        while not any(isinstance(each, Credit) for each in relay.messages):
            if not relay.read(0.3):
                return sent
        credit += relay.next(Credit, id_).amount


def flood(peer: socket.socket) -> None:
    """Send bytes until no more can be sent without waiting."""
    peer.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            peer.send(bytes(LOST))


@pytest.mark.thorough
def test_stream_that_is_not_read_delays_no_other(relay: RelayProcess, pair: Pairs) -> None:
    """Two streams stall: the peer of one reads nothing, and the host gives the other no credit."""
    (stuck, reads_nothing), (unread, floods), (third, peer) = pair(9), pair(10), pair(LOST)
    with reads_nothing, floods, peer:
        sent = fill(relay, stuck)
        flood(floods)
        assert relay.data(unread, 10) == bytes(10)
        for _ in range(20):
            relay.send(Data(third, b"ping"))
            assert peer.recv(4) == b"ping"
            peer.sendall(b"pong")
            assert relay.data(third, 4) == b"pong"
        relay.send(Credit(unread, 7))
        assert relay.data(unread, 7) == bytes(7)
        relay.send(Eof(stuck))
        assert len(receive_all(reads_nothing)) == sent


def test_data_are_sent_after_the_last_message(
    relay: RelayProcess, pair: Pairs, server: socket.socket
) -> None:
    id_, peer = pair()
    with peer:
        sent = fill(relay, id_)
        peer.shutdown(socket.SHUT_WR)
        relay.next(Eof, id_)
        relay.send(Eof(id_))
        open_one = relay.open(port_of(server))
        assert relay.process.stdin is not None
        relay.process.stdin.close()
        assert not relay.read(0.2), open_one
        assert relay.process.poll() is None
        assert len(receive_all(peer)) == sent
    assert relay.exit() == (0, "")


@pytest.mark.thorough
def test_many_connections_one_after_another(relay: RelayProcess, pair: Pairs) -> None:
    for number in range(1000):
        id_, peer = pair()
        with peer:
            relay.send(Data(id_, b"%d" % number), Eof(id_))
            assert receive_all(peer) == b"%d" % number
        relay.next(Eof, id_)
    assert relay.exit() == (0, "")


def test_as_many_connections_as_allowed_at_once(relay: RelayProcess, server: socket.socket) -> None:
    with ExitStack() as peers:
        ids = [relay.connect(port_of(server)) for _ in range(streams.MAX_STREAMS)]
        for id_ in ids:
            peers.enter_context(accept(server)).sendall(b"x" * 1000)
            relay.next(Connected, id_)
        for id_ in ids:
            assert relay.data(id_, 1000) == b"x" * 1000
        for _ in range(3):
            refused = relay.next(Refused, relay.connect(port_of(server)))
            assert refused.error_number == errno.EMFILE
        relay.send(Reset(ids[0]))
        relay.open(port_of(server))
    assert relay.exit() == (0, "")


def test_too_few_descriptors_refuse_a_client(start: Callable[..., RelayProcess]) -> None:
    relay = start(files=6)
    listener, port = relay.listen()
    with client(port), client(port):
        relay.next(Accepted, relay.accept(listener))
        refused = relay.next(NotAccepted, relay.accept(listener))
        assert refused.error_number == errno.EMFILE
    assert relay.exit() == (0, "")


def test_too_few_descriptors_refuse_a_connection(
    start: Callable[..., RelayProcess], server: socket.socket
) -> None:
    relay = start(files=8)
    ids = [relay.connect(port_of(server)) for _ in range(10)]
    for id_ in ids[:5]:
        relay.next(Connected, id_)
    assert relay.next(Refused, ids[5]).error_number == errno.EMFILE
    assert relay.exit() == (0, "")


def is_quiet(relay: RelayProcess) -> bool:
    return not relay.read(0.2) and not relay.messages


def test_client_waits_until_the_host_accepts_it(relay: RelayProcess) -> None:
    listener, port = relay.listen()
    with client(port) as first, client(port, socket.AF_INET6) as second:
        assert is_quiet(relay)
        first.sendall(b"1")
        second.sendall(b"2")
        for _ in range(2):
            id_ = relay.accept(listener)
            relay.next(Accepted, id_)
            got = relay.data(id_, 1)
            relay.send(Data(id_, got * 2))
        assert (first.recv(2), second.recv(2)) == (b"11", b"22")
        assert is_quiet(relay)
    assert relay.exit() == (0, "")


def test_accept_can_be_cancelled(relay: RelayProcess) -> None:
    listener, port = relay.listen()
    relay.send(Reset(relay.accept(listener)))
    with client(port):
        assert is_quiet(relay)
        relay.next(Accepted, relay.accept(listener))
    assert relay.exit() == (0, "")


def test_closed_listener_refuses_clients_but_keeps_their_streams(relay: RelayProcess) -> None:
    listener, port = relay.listen()
    id_ = relay.accept(listener)
    with client(port) as peer:
        relay.next(Accepted, id_)
        waiting = relay.accept(listener)
        relay.send(Reset(listener))
        assert relay.next(NotAccepted, waiting).error_number == errno.EINVAL
        with pytest.raises(ConnectionRefusedError):
            client(port)
        relay.send(Data(id_, b"open"))
        assert peer.recv(4) == b"open"
        assert relay.listen(port)[1] == port
    assert relay.exit() == (0, "")


def test_accept_is_refused_unless_a_listener_is_free(relay: RelayProcess) -> None:
    listener, _ = relay.listen()
    waiting = relay.accept(listener)
    for wrong in (listener, waiting, 12345):
        assert relay.next(NotAccepted, relay.accept(wrong)).error_number == errno.EINVAL
    assert relay.exit() == (0, "")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_port_that_is_in_use_is_refused(relay: RelayProcess, family: int) -> None:
    with listening(family) as server:
        relay.send(Listen(1, port_of(server)))
        assert relay.next(NotListening, 1).error_number == errno.EADDRINUSE
        if family == socket.AF_INET6:  # relay has closed its socket for the other address again
            with pytest.raises(ConnectionRefusedError):
                client(port_of(server))
    assert relay.exit() == (0, "")


def test_as_many_listeners_as_allowed(relay: RelayProcess) -> None:
    opened = [relay.listen() for _ in range(streams.MAX_LISTENERS)]
    assert len({port for _, port in opened}) == streams.MAX_LISTENERS
    relay.send(Listen(100, 0))
    assert relay.next(NotListening, 100).error_number == errno.EMFILE
    relay.send(Reset(opened[3][0]), Listen(101, 0), Accept(102, 1, 101))
    with client(relay.next(Listening, 101).port):
        relay.next(Accepted, 102)
    assert relay.exit() == (0, "")


def test_clients_beyond_the_limit_wait(relay: RelayProcess) -> None:
    """The maximum number of clients is connected. Two others wait until a stream is closed."""
    listener, port = relay.listen()
    with ExitStack() as stack:

        def clients(first: int, end: int) -> list[socket.socket]:
            peers = [stack.enter_context(client(port)) for _ in range(first, end)]
            for number, peer in enumerate(peers, first):
                peer.sendall(b"%03d" % number)
            return peers

        def accepted(id_: int) -> int:
            relay.next(Accepted, id_)
            relay.send(Data(id_, relay.data(id_, 3)))
            return id_

        peers = clients(0, streams.MAX_STREAMS)
        ids = [accepted(relay.accept(listener)) for _ in peers]
        peers += clients(len(peers), len(peers) + 2)
        waiting = relay.accept(listener)
        refused = relay.next(Refused, relay.connect(port))
        assert refused.error_number == errno.EMFILE
        assert is_quiet(relay)
        relay.send(Reset(ids[0]))
        accepted(waiting)
        relay.send(Reset(ids[1]))
        accepted(relay.accept(listener))
        for number, peer in enumerate(peers[2:], 2):
            assert peer.recv(3) == b"%03d" % number
    assert relay.exit() == (0, "")


OUT_OF_ORDER = "relay: a message is out of order\n"
MALFORMED = "relay: a frame is malformed\n"
TRUNCATED = "relay: the input ends within a frame\n"
EXCEEDED = "relay: data exceed the credit\n"
CONNECT = Connect(7, 1, 1, b"/none")
LISTEN = Listen(8, 0)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ([Data(1, b"x")], OUT_OF_ORDER),
        ([CONNECT, CONNECT], OUT_OF_ORDER),
        ([CONNECT, Connect(6, 1, 1, b"")], OUT_OF_ORDER),
        ([LISTEN, LISTEN], OUT_OF_ORDER),
        ([LISTEN, Accept(9, 1, 8), Data(9, b"x")], OUT_OF_ORDER),
        ([LISTEN, CONNECT], OUT_OF_ORDER),
        ([b"\xff" * 12], MALFORMED),
        ([Connected(1, 1)], MALFORMED),
        ([CONNECT.encode()[:-1] + b"\0"], MALFORMED),
        ([CONNECT.encode()[:-1]], TRUNCATED),
    ],
)
def test_invalid_input_ends_the_program(
    relay: RelayProcess, sent: list[streams.Message | bytes], reason: str
) -> None:
    for each in sent:
        relay.send_bytes(each if isinstance(each, bytes) else each.encode())
    assert relay.exit() == (1, reason)


@pytest.mark.thorough
def test_data_beyond_the_credit_end_the_program(relay: RelayProcess, pair: Pairs) -> None:
    id_, peer = pair()
    with peer:
        fill(relay, id_)
        relay.send(Data(id_, b"x"))
    assert relay.exit() == (1, EXCEEDED)


SERVERS = st.sampled_from([(0, b"/none"), (1, b""), (0, b"@")])
DRAWN = any_.Conversations(
    {
        Connect: lambda _: SERVERS.flatmap(
            lambda server: any_.connect(port=st.just(server[0]), path=st.just(server[1]))
        ),
        Listen: lambda _: any_.listen(port=st.just(0)),
    }
)


@pytest.mark.thorough
@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(DRAWN.correct(), DRAWN.faulty()), st.binary(max_size=30))
def test_random_messages_do_no_harm(
    binary: Path, server: socket.socket, sent: list[Sent], rest: bytes
) -> None:
    """The program exits with one of its own errors, or without an error."""
    relay = RelayProcess(binary.with_name("relay"))
    try:
        with suppress(BrokenPipeError):
            for each in sent:
                if each.sender == "host":
                    relay.send(at_server(each.message, port_of(server)))
            relay.send_bytes(rest)
        status, text = relay.exit()
        assert status in (0, 1)
        assert text in ("", OUT_OF_ORDER, MALFORMED, TRUNCATED, EXCEEDED)
        assert (status == 0) is (text == "")
    finally:
        relay.close()


def at_server(message: streams.Message, port: int) -> streams.Message:
    """Return the message. If it connects to port 1, replace this by the port of a server."""
    if isinstance(message, Connect) and message.port == 1:
        return replace(message, port=port)
    return message


def test_other_version_of_the_protocol_is_refused(start: Callable[..., RelayProcess]) -> None:
    assert start(digest=streams.DIGEST ^ 1).exit() == (2, "")


@pytest.mark.thorough
def test_idle_program_uses_no_processor_time(relay: RelayProcess, pair: Pairs) -> None:
    """The program does not poll again and again because a connection is hung up or reset."""
    pairs = [pair(credit) for credit in (0, 5, 5)]
    ids = [id_ for id_, _ in pairs]
    with ExitStack() as peers:
        first, second, third = (peers.enter_context(peer) for _, peer in pairs)
        first.sendall(b"unread")
        second.sendall(b"unread")
        third.shutdown(socket.SHUT_WR)
        relay.data(ids[1], 5)
        relay.next(Eof, ids[2])
        first.close()
        peers.enter_context(client(relay.listen()[1]))
        stat = Path(f"/proc/{relay.process.pid}/stat")

        def ticks() -> int:
            fields = stat.read_text().rpartition(")")[2].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        assert not relay.read(0.5)
        assert ticks() - before <= 5
