"""The client that was written from the document alone, and what the document says."""

from __future__ import annotations

import ast
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import spec_client
from tests.spec_client import Broken, Frame, Host, Malformed, decode, encode
from tests.spec_scenes import SCENES
from tests.support import vectors
from tests.support.daemon import Daemon

from microvm.errors import ProtocolError
from microvm.guest.request import request_of
from microvm.wire.session import Session

SPEC = (Path(__file__).parents[2] / "protocol/SPEC.md").read_text()


@pytest.fixture
def host(daemon_process: Daemon) -> Host:
    """Give a host that has greeted a daemon."""
    host = Host(daemon_process.stream)
    host.greet()
    return host


@pytest.mark.parametrize("play", SCENES, ids=lambda play: play.__name__)
def test_the_daemon_does_what_the_document_says(host: Host, play: Callable[[Host], None]) -> None:
    play(host)


class TestTheClient:
    """Tests of the client's worth: it is a second implementation, and as strict as the document."""

    def test_it_shares_nothing_with_the_library(self) -> None:
        tree = ast.parse(Path(spec_client.__file__).read_text())
        imported = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
            )
        }
        assert imported <= sys.stdlib_module_names

    def test_its_numbers_are_the_documents(self) -> None:
        assert f"schema digest `{spec_client.DIGEST:016x}`" in SPEC
        assert f"version {spec_client.VERSION}\n" in SPEC
        assert f"{spec_client.LONGEST_FROM_HOST} bytes from the host" in SPEC
        assert f"{spec_client.LONGEST_FROM_GUEST} bytes from the guest" in SPEC
        assert f"`u64`, always {spec_client.MAGIC:#x}" in SPEC

    def test_it_has_every_message(self) -> None:
        rows = re.findall(r"^\| (\d+) \| \[`(\w+)`\]\S+ \| (host|guest) \|", SPEC, re.MULTILINE)
        found = {(int(number), name, sender) for number, name, sender in rows}
        assert found == {(n, name, who) for name, (n, who, *_) in spec_client.MESSAGES.items()}

    def test_it_reads_and_writes_every_valid_vector(self) -> None:
        valid = [v for v in vectors.load(vectors.COMMITTED) if not v.fault]
        assert len(valid) > 100
        for vector in valid:
            decoded = decode(vector.frame, vector.sender)
            assert decoded is not None
            frame, size = decoded
            assert (frame.name, size) == (vector.message, len(vector.frame))
            assert encode(frame.name, frame.id, **frame.fields) == vector.frame

    def test_it_refuses_every_other_as_the_document_says(self) -> None:
        invalid = [v for v in vectors.load(vectors.COMMITTED) if v.fault]
        assert len(invalid) > 200
        for vector in invalid:
            with pytest.raises(Malformed) as caught:
                decode(vector.frame, vector.sender)
            error = caught.value
            assert (error.code, error.offset, error.number) == vector.fault, vector.name


def output(data: bytes, *, id_: int = 1, stream: int = 1) -> bytes:
    return encode("exec_output", id_, stream=stream, data=data)


def response(ending: int, status: int, *, id_: int = 1) -> bytes:
    return encode("exec_response", id_, ending=ending, status=status, memory=2**64 - 1)


END = response(0, 0)
GREETING = {"magic": spec_client.MAGIC, "version": 3, "digest": 0, "max_body": 0, "nonce": 0}
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
    """Tests of what a strict host takes for broken; ours is as strict."""

    @pytest.mark.parametrize("answers", HOSTILE.values(), ids=HOSTILE)
    def test_it_is_broken(self, answers: bytes) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            host = Host(ours, deadline=2.0)
            host.state = "idle"
            host.start(b"true", window=0)
            theirs.send(answers, socket.MSG_DONTWAIT)  # the first frame at least
            with pytest.raises(Broken) as caught:
                hear_out(host)
            assert "does not answer" not in str(caught.value)

    @pytest.mark.parametrize("answers", HOSTILE.values(), ids=HOSTILE)
    def test_the_library_says_so_too(self, answers: bytes) -> None:
        session = Session()
        decoded = decode(session.hello(), "host")
        assert decoded is not None
        session.receive_data(encode("ready", **decoded[0].fields))
        assert session.next_event() is not None
        session.exec_request(request_of(["true"], {})[0])
        session.receive_data(answers)
        with pytest.raises(ProtocolError):
            list(iter(session.next_event, None))

    @pytest.mark.parametrize(
        ("version", "digest"), [(3, 1), (2, spec_client.DIGEST), (0, spec_client.DIGEST + 1)]
    )
    def test_another_digest_is_shown(self, version: int, digest: int) -> None:
        with pytest.raises(Broken, match=f"version {version} of {digest:#x}"):
            greeted(version, digest)

    def test_a_newer_guest_is_welcome(self) -> None:
        assert greeted(4, 1)["version"] == 4


def hear_out(host: Host) -> None:
    """Take the end of a command, and one frame more."""
    host.finish()
    host.receive()


def greeted(version: int, digest: int) -> Frame:
    """The `ready` of a guest like this, as a host takes it that has another's output before it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        class Guest(Host):
            def send(self, data: bytes) -> None:
                super().send(data)
                decoded = decode(data, "host")
                assert decoded is not None
                if decoded[0].name == "hello":
                    fields = decoded[0].fields | {"version": version, "digest": digest}
                    other = encode("ready", **fields | {"nonce": 0})
                    theirs.sendall(b"half a frame" + other + encode("ready", **fields))

        return Guest(ours).greet()
