"""Tests that a host and a daemon of different versions use the older version."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from tests.support.daemon import Daemon, Result, build_sanitized
from tests.support.emitted import emitted
from tests.support.options import exec_options

from microvm.errors import ProtocolError, UsageError
from microvm.guest import request
from microvm.wire import codec, command_conversation, session
from microvm.wire.session import Session
from microvm_proto.resolve import read_schema

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "head -c 300000 /dev/zero; echo problem >&2; exit 3"
# Before the tail, because the daemon reads the tail directly into its frame.
TAIL = (
    '[[message.field]]\nname = "data"\ntype = "tail"\nmax = 65536\ndoc = "The bytes, at least one."'
)
NEXT = codec.VERSION + 1
SINCE = re.compile(r"^since = (\d+)$", re.M)
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


STEP = '  { message = "ping" },\n'
NUDGE_STEP = '  { message = "nudge" },\n'


class Older(NamedTuple):
    """An older version, and the folder of its files."""

    version: int
    folder: Path


def tables(text: str) -> list[str]:
    """Return the tables of a schema that determine the frames: all except conversations."""
    found = re.split(r"^(?=\[)", text, flags=re.M)
    return [table for table in found if not table.startswith("[[conversation")]


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a possible next version: its schema, codec and daemon."""
    folder = tmp_path_factory.mktemp("newer")
    text = (ROOT / "protocol/sandboxd.toml").read_text()
    version = {f"version = {codec.VERSION}\n": f"version = {NEXT}\n"}
    for old, new in {**version, TAIL: FIELD + TAIL, STEP: STEP + NUDGE_STEP}.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (folder / "sandboxd.toml").write_text(text + MESSAGE)
    schema = read_schema(folder / "sandboxd.toml")
    shutil.copytree(ROOT / "guest", folder / "guest")
    (folder / "guest/protocol.h").write_text(emitted("c", schema, "file", "inline")["file"])
    (folder / "codec.py").write_text(emitted("python", schema, "file")["file"])
    build_sanitized(folder, folder / "guest")
    return folder


@pytest.fixture(scope="module", params=range(1, codec.VERSION))
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Older:
    """Each older version: its schema, codec and daemon."""
    version, folder = request.param, tmp_path_factory.mktemp("older")
    text = (ROOT / "protocol/sandboxd.toml").read_text()
    kept = [table for table in tables(text) if int((SINCE.findall(table) or "1")[0]) <= version]
    text = "".join(kept).replace(f"version = {codec.VERSION}\n", f"version = {version}\n")
    (folder / "sandboxd.toml").write_text(text)
    schema = read_schema(folder / "sandboxd.toml")
    (folder / "codec.py").write_text(emitted("python", schema, "file")["file"])
    # A daemon of this version. The agreed version determines how it decodes frames.
    shutil.copytree(ROOT / "guest", folder / "guest")
    header = (folder / "guest/protocol.h").read_text()
    for name, value in {
        "VERSION": f"{version}u",
        "SCHEMA_DIGEST": f"{codec.DIGESTS[version]:#x}ULL",
    }.items():
        header, count = re.subn(rf"(#define SANDBOXD_{name}) .*", rf"\1 {value}", header)
        assert count == 1
    (folder / "guest/protocol.h").write_text(header)
    daemon = folder / "sandboxd"
    make = ["make", "-s", "-C", str(folder / "guest"), f"OUT={folder}", str(daemon)]
    subprocess.run(make, check=True, timeout=120)
    return Older(version, folder)


def load(name: str, folder: Path) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(name, folder / "codec.py")
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[name]


@pytest.fixture(scope="module")
def newer_codec(newer: Path) -> Iterator[ModuleType]:
    yield from load("newer_codec", newer)


@pytest.fixture(scope="module")
def older_codec(older: Older) -> Iterator[ModuleType]:
    yield from load("older_codec", older.folder)


def use(codec: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the sessions of this test use another codec."""
    for module in (session, command_conversation):
        monkeypatch.setattr(module, "codec", codec)


def hear(daemon: Daemon, host: Session) -> Any:
    """Return the next result of a session."""
    while (event := host.next_event()) is None:
        host.receive_data(daemon.stream.recv(1 << 18))
    return event


def script(host: Session) -> bytes:
    """Return the message with which a session requests to run the script."""
    return host.exec_request(request.request_of(["sh", "-c", SCRIPT], exec_options())[0])[1]


def run(daemon: Daemon, host: Session) -> tuple[Result, list[Any]]:
    """Run the script in a session. Return the result of the command, and all messages."""
    daemon.send(host.hello())
    hear(daemon, host)
    daemon.send(script(host))
    return finish(daemon, host)


def finish(daemon: Daemon, host: Session) -> tuple[Result, list[Any]]:
    """Return the result of a command, and all messages."""
    output: dict[int, bytes] = {1: b"", 2: b""}
    heard = []
    while type(message := hear(daemon, host)).__name__ != "ExecResponse":
        output[message.stream] += bytes(message.data)
        heard.append(message)
    return Result(output[1], output[2], message), heard


def request_by(codec: ModuleType, *argv: bytes) -> Any:
    """Return the request of a host with this codec."""
    null = codec.StdinKind.NULL
    return codec.ExecRequest(0, argv[0], b"", argv, (), 0, 0, b"", null, 0, 0, 0, 0)


def check(result: Result) -> None:
    assert result.stdout == bytes(300_000)
    assert result.stderr == b"problem\n"
    assert result.end.status == 3  # type: ignore[union-attr]
    assert not getattr(result.end, "memory", 0)  # an ordinary process has no cgroup


@pytest.mark.thorough
def test_an_older_host_is_served_by_a_newer_guest(newer: Path) -> None:
    with closing(Daemon(newer / "sandboxd")) as daemon:
        assert daemon.hello().version == NEXT
        check(daemon.run_sh(SCRIPT))
        # The agreed version lacks the new fields.
        daemon.send((0).to_bytes(4, "little") + NUDGE.to_bytes(8, "little"))
        error = daemon.receive()
        assert isinstance(error, codec.Error)
        assert error.code is codec.ErrorCode.UNKNOWN_TYPE


def test_a_newer_host_is_served_by_an_older_guest(
    sanitized: Path, newer_codec: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(newer_codec, monkeypatch)
    monkeypatch.setattr(request, "codec", newer_codec)
    with closing(Daemon(sanitized)) as daemon:
        result, heard = run(daemon, Session())
        check(result)
        assert {message.sequence for message in heard} == {0}


def test_two_newer_sides_speak_the_newer_version(
    newer: Path, newer_codec: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(newer_codec, monkeypatch)
    monkeypatch.setattr(request, "codec", newer_codec)
    with closing(Daemon(newer / "sandboxd")) as daemon:
        host = Session()
        check(run(daemon, host)[0])
        daemon.send(newer_codec.Nudge().encode(), host.ping(3))
        host.receive_data(daemon.stream.recv(1 << 18))
        assert host.next_event() == newer_codec.Pong(3)


@pytest.mark.thorough
def test_host_of_the_previous_release_is_served(
    sanitized: Path, older_codec: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert codec.DIGESTS[older_codec.VERSION] == older_codec.DIGEST
    use(older_codec, monkeypatch)
    monkeypatch.setattr(older_codec.ExecRequest, "beside", False, raising=False)
    with closing(Daemon(sanitized)) as daemon:
        host = Session()
        daemon.send(host.hello())
        host.receive_data(daemon.stream.recv(1 << 18))
        assert isinstance(host.next_event(), older_codec.Ready)
        daemon.send(host.exec_request(request_by(older_codec, b"sh", b"-c", SCRIPT.encode()))[1])
        check(finish(daemon, host)[0])
        # It receives only messages of its version.
        daemon.send(host.exec_request(request_by(older_codec, b"nonexistent"))[1])
        failed = hear(daemon, host)
        assert failed == older_codec.ExecFailed(2, older_codec.Stage.LOOKUP, 2)
        daemon.send(codec.Keep().encode(), host.ping(3))
        if older_codec.VERSION >= 2:
            assert hear(daemon, host) == older_codec.Pong(3)
            return
        with pytest.raises(ProtocolError, match="refused a frame of type 11: unknown_type"):
            hear(daemon, host)


def test_guest_of_the_previous_release_can_be_used(older: Older) -> None:
    with closing(Daemon(older.folder / "sandboxd")) as daemon:
        host = Session()
        check(run(daemon, host)[0])
        if older.version < 2:
            with pytest.raises(UsageError, match="cannot be kept"):
                host.keep()
            long = request.request_of(["sh", *["x" * 65536] * 16], exec_options())[0]
            with pytest.raises(UsageError, match="more_argv"):
                host.exec_request(long)
        daemon.send(
            host.exec_request(request.request_of(["sh", "-c", SCRIPT], exec_options())[0])[1]
        )
        check(finish(daemon, host)[0])
