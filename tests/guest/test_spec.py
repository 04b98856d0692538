"""Tests of a client that was written from the specification alone."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import spec_client
from tests.spec_client import SpecHost, decode, encode
from tests.spec_scenes import SCENES
from tests.support import document, vectors
from tests.support.daemon import Daemon, shipped_build
from tests.support.document.types import Malformed

from microvm.wire import codec


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
