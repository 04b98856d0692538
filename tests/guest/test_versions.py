"""A host and a guest of different versions speak the older one: with the real daemon, both ways."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support.daemon import Daemon, Result, build_sanitized

from microvm.guest import request
from microvm.wire import codec, session
from microvm.wire.session import Session
from microvm_proto import backends
from microvm_proto.resolve import read_schema

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "head -c 300000 /dev/zero; echo problem >&2; exit 3"
# Before the tail, which the daemon reads straight into its frame.
TAIL = (
    '[[message.field]]\nname = "data"\ntype = "tail"\nmax = 65536\ndoc = "The bytes, at least one."'
)
NEXT = codec.VERSION + 1
NUDGE = 40_000
FIELD = f'[[message.field]]\nname = "sequence"\ntype = "u32"\nsince = {NEXT}\n\n'
MESSAGE = f"""
[[message]]
name = "nudge"
number = {NUDGE}
sender = "host"
id = "none"
since = {NEXT}
"""


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the next version may be: its schema, codec, and daemon."""
    folder = tmp_path_factory.mktemp("newer")
    text = (ROOT / "protocol/sandboxd.toml").read_text()
    version = {f"version = {codec.VERSION}\n": f"version = {NEXT}\n"}
    for old, new in {**version, TAIL: FIELD + TAIL}.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "sandboxd.toml").write_text(text + MESSAGE)
    schema = read_schema(folder / "sandboxd.toml")
    shutil.copytree(ROOT / "guest", folder / "guest")
    (folder / "guest/protocol.h").write_text(backends.find("c")(schema, "file")["file"])
    (folder / "codec.py").write_text(backends.find("python")(schema, "file")["file"])
    build_sanitized(folder, folder / "guest")
    return folder


@pytest.fixture(scope="module")
def newer_codec(newer: Path) -> Iterator[ModuleType]:
    """The codec of the newer version."""
    spec = importlib.util.spec_from_file_location("newer_codec", newer / "codec.py")
    assert spec
    assert spec.loader
    module = sys.modules["newer_codec"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["newer_codec"]


def run(daemon: Daemon, host: Session) -> tuple[Result, list[Any]]:
    """Run the script for a session; return what comes of it, and all messages."""

    def hear() -> Any:
        while (event := host.next_event()) is None:
            host.receive_data(daemon.stream.recv(1 << 18))
        return event

    daemon.send(host.hello())
    hear()
    daemon.send(host.exec_request(request.request_of(["sh", "-c", SCRIPT], {})[0]))
    output: dict[int, bytes] = {1: b"", 2: b""}
    heard = []
    while type(message := hear()).__name__ != "ExecResponse":
        output[message.stream] += bytes(message.data)
        heard.append(message)
    return Result(output[1], output[2], message), heard


def check(result: Result) -> None:
    assert result.stdout == bytes(300_000)
    assert result.stderr == b"problem\n"
    assert result.end.status == 3  # type: ignore[union-attr]


def test_an_older_host_is_served_by_a_newer_guest(newer: Path) -> None:
    with closing(Daemon(newer / "sandboxd")) as daemon:
        assert daemon.hello().version == NEXT
        check(daemon.run_sh(SCRIPT))
        # What is new has no place in what they speak.
        daemon.send((0).to_bytes(4, "little") + NUDGE.to_bytes(8, "little"))
        error = daemon.receive()
        assert isinstance(error, codec.Error)
        assert error.code is codec.ErrorCode.UNKNOWN_TYPE


def test_a_newer_host_is_served_by_an_older_guest(
    sanitized: Path, newer_codec: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "codec", newer_codec)
    monkeypatch.setattr(request, "codec", newer_codec)
    with closing(Daemon(sanitized)) as daemon:
        result, heard = run(daemon, Session())
        check(result)
        assert {message.sequence for message in heard} == {0}


def test_two_newer_sides_speak_the_newer_version(
    newer: Path, newer_codec: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "codec", newer_codec)
    monkeypatch.setattr(request, "codec", newer_codec)
    with closing(Daemon(newer / "sandboxd")) as daemon:
        host = Session()
        check(run(daemon, host)[0])
        daemon.send(newer_codec.Nudge().encode(), host.ping(3))
        host.receive_data(daemon.stream.recv(1 << 18))
        assert host.next_event() == newer_codec.Pong(3)
