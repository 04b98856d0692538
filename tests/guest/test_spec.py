"""Tests of a client that was written from the specification alone."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import spec_client
from tests.spec_client import Broken, SpecFrame, SpecHost, decode, encode
from tests.spec_scenes import SCENES
from tests.support import document, vectors
from tests.support.daemon import Daemon, shipped_build
from tests.support.document.types import Malformed
from tests.support.options import exec_options

from microvm.errors import ProtocolError
from microvm.guest.request import request_of
from microvm.wire import codec
from microvm.wire.session import Session


@pytest.fixture
def host(daemon_process: Daemon) -> SpecHost:
    """A host that has sent a hello to a daemon."""
    host = SpecHost(daemon_process.stream)
    host.greet()
    return host


@shipped_build
@pytest.mark.parametrize("play", SCENES, ids=lambda play: play.__name__)
def test_daemon_behaves_as_specified(host: SpecHost, play: Callable[[SpecHost], None]) -> None:
    play(host)


def test_bytes_before_the_first_hello_are_dropped(daemon_process: Daemon) -> None:
    daemon_process.stream.sendall(b"bytes before the first hello")
    host = SpecHost(daemon_process.stream)
    host.greet()
    assert host.run(b"true").exit_code == 0


@pytest.mark.parametrize(("reason", "is_closed"), [(1, False), (2, True)])
def test_goodbye_is_the_last_message(host: SpecHost, reason: int, is_closed: bool) -> None:
    """The daemon ends after a `shutdown` and after the end of the stream."""
    host.start(b"sleep", b"300")
    if is_closed:
        host.stream.shutdown(socket.SHUT_WR)
        assert host.receive()["reason"] == reason
    else:
        assert host.shutdown() == reason
    assert host.stream.recv(1) == b""


@pytest.mark.parametrize("version", range(1, codec.VERSION))
def test_newest_frames_are_read_alike_in_older_versions(version: int) -> None:
    """Newest frames contain values that older versions refuse."""
    for vector in vectors.load(vectors.COMMITTED):
        decoder = codec.Decoder(vector.sender, version)
        decoder.receive_data(vector.frame)
        try:
            message = decoder.next_message()
            expected: object = message and message.encode(version)
        except codec.DecodeError as error:
            expected = (error.fault, error.offset, error.field_number)
        try:
            decoded = decode(vector.frame, vector.sender, version)
            assert decoded is not None
            name, id_, fields = decoded[0].name, decoded[0].id, decoded[0].fields
            seen: object = encode(name, id_, speaking=version, **fields)
        except Malformed as error:
            seen = (spec_client.SPEC.codes[error.fault], error.offset, error.number)
        assert seen == expected, vector.name


def test_client_does_not_import_the_library() -> None:
    sources = [Path(spec_client.__file__), *Path(document.__file__).parent.glob("*.py")]
    for source in sources:
        imported = re.findall(r"^(?:from|import) (\w+\S*)", source.read_text(), re.MULTILINE)
        foreign = {each for each in imported if each.split(".")[0] not in sys.stdlib_module_names}
        assert all(each.startswith("tests.support.document") for each in foreign), source


def output(data: bytes, *, id_: int = 1, stream: int = 1) -> bytes:
    return encode("exec_output", id_, stream=stream, data=data)


def response(ending: int, status: int, *, id_: int = 1) -> bytes:
    return encode("exec_response", id_, ending=ending, status=status, memory=2**64 - 1)


END = response(0, 0)
GREETING = {"version": 3, "digest": 0, "max_body": 0, "nonce": 0}
HOSTILE = {
    "empty output": output(b""),
    "output beyond the credit": output(bytes(65536)) * 17,
    "output of another": output(b"x", id_=2),
    "output of a third stream": output(b"x", stream=3),
    "an end by signal 0": response(1, 0),
    "an end by signal 65": response(1, 65),
    "an end of another": response(0, 0, id_=2),
    "two ends": END + END,
    "credit for a command that is not fed": encode("exec_stdin_credit", 1, amount=5),
    "a closed input of such a one": encode("exec_stdin_closed", 1),
    "an answer to nothing": encode("pong", token=1),
    "an end behind a goodbye": encode("goodbye", reason=1) + END,
    "a refusal": encode("error", 1, code=64, refused_type=16, offset=0, field=0),
    "a message of the host": encode("hello", **GREETING),
    "another ready": encode("ready", **GREETING),
    "garbage": b"garbage that is long enough",
    "zeros": bytes(12),
}
"""Answers that no guest may give to the first command, which is not fed."""


class TestAHostileGuest:
    """Tests of messages that a strict host must refuse; the product refuses them, too."""

    @pytest.mark.parametrize("answers", HOSTILE.values(), ids=HOSTILE)
    def test_client_reports_a_violation(self, answers: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            host = SpecHost(ours, deadline=2.0)
            host.begin()
            host.start(b"true", window=0)
            theirs.send(answers, socket.MSG_DONTWAIT)  # at least the first frame
            with pytest.raises(Broken) as caught:
                hear_out(host)
            assert "does not answer" not in str(caught.value)

    @pytest.mark.parametrize("answers", HOSTILE.values(), ids=HOSTILE)
    def test_library_reports_the_same_violation(self, answers: bytes) -> None:
        session = Session()
        decoded = decode(session.hello(), "host")
        assert decoded is not None
        session.receive_data(encode("ready", **decoded[0].fields))
        assert session.next_event() is not None
        session.exec_request(request_of(["true"], exec_options())[0])
        session.receive_data(answers)
        with pytest.raises(ProtocolError):
            list(iter(session.next_event, None))

    @pytest.mark.parametrize(
        ("version", "digest"), [(4, 1), (3, spec_client.DIGEST), (0, spec_client.DIGEST + 1)]
    )
    def test_another_digest_is_shown(self, version: int, digest: int) -> None:
        with pytest.raises(Broken, match=f"version {version} of {digest:#x}"):
            greeted(version, digest)

    def test_newer_guest_is_accepted(self) -> None:
        assert greeted(5, 1)["version"] == 5


def hear_out(host: SpecHost) -> None:
    """Receive the end of a command, and one more message."""
    host.finish()
    host.receive()


def greeted(version: int, digest: int) -> SpecFrame:
    """Return the `ready` message of a guest, for a host that receives other output before it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        class SpecGuest(SpecHost):
            def send(self, data: bytes) -> None:
                super().send(data)
                decoded = decode(data, "host")
                assert decoded is not None
                if decoded[0].name == "hello":
                    fields = decoded[0].fields | {"version": version, "digest": digest}
                    other = encode("ready", **fields | {"nonce": 0})
                    theirs.sendall(b"half a frame" + other + encode("ready", **fields))

        return SpecGuest(ours).greet()
