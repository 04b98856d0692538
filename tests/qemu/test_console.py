"""Tests of the console: it is bounded, live, split into lines, and safe to print."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from microvm.errors import UsageError
from microvm.qemu import console as console_module
from microvm.qemu.console import TAIL_SIZE, Console


def fed(*chunks: bytes) -> Console:
    console = Console()
    for chunk in chunks:
        console.feed(chunk)
    return console


def test_tail_returns_last_lines() -> None:
    console = fed(b"one\r\ntwo\r\n", b"thr", b"ee\r\n\r\n")
    assert console.tail() == "one\ntwo\nthree"
    assert console.tail(lines=2) == "two\nthree"


@pytest.mark.parametrize(
    "hostile",
    [
        b"\x1b[31;1mred\x1b[0m",
        b"\x1b]0;title\x07red",
        b"\x1b]52;c;aGk=\x1b\\red",
        b"\x1bcred",
        b"\x1b(Bred",
        b"r\x08ed\x7f",
        b"\xc2\x9b2Jred".replace(b"2J", b""),
        "r\u202eed".encode(),
        b"red\x1b",
    ],
)
def test_tail_contains_no_escape_sequences(hostile: bytes) -> None:
    assert fed(hostile).tail() == "red"


def test_memory_is_bounded() -> None:
    console = Console()
    for _ in range(100):
        console.feed(b"x" * 10_000)
    console.feed(b"end")
    assert len(console.tail()) == TAIL_SIZE
    assert len(console._tail) <= 2 * TAIL_SIZE + 10_000
    assert console.tail().endswith("xend")


def test_panic_is_found_in_the_output() -> None:
    console = fed(
        b"[ 0.1] boot\r\n[ 0.2] Kernel panic - not syncing: VFS: no root\r\n[ 0.3] CPU: 0\r\n"
    )
    assert console.panic() == "Kernel panic - not syncing: VFS: no root"
    assert fed(b"all is well").panic() is None


def test_panic_is_cut_at_control_characters() -> None:
    said = fed(b"Kernel panic - not syncing: a\tb").panic()
    assert said == "Kernel panic - not syncing: a"
    assert len(fed(b"Kernel panic - not syncing: " + b"x" * TAIL_SIZE).panic() or "") < 200


def test_log_is_live(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"of an earlier run")
    with Console(log) as console:
        console.feed(b"\x1b[1mraw\xff")
        assert log.read_bytes() == b"\x1b[1mraw\xff"


@pytest.mark.parametrize("chunks", [[b"x" * 150], [b"x" * 99, b"x", b"x", b"x" * 99]])
def test_log_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: list[bytes]) -> None:
    monkeypatch.setattr(console_module, "LOG_LIMIT", 100)
    log = tmp_path / "log"
    with Console(log) as console:
        for chunk in chunks:
            console.feed(chunk)
    assert log.read_bytes() == b"x" * 100 + b"\n[microvm: the console's log is cut here]\n"
    assert console.log_error is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_stops_the_log_only() -> None:
    with Console(Path("/dev/full")) as console:
        console.feed(b"one\n")
        console.feed(b"two\n")
        assert console.log_error is not None
        assert console.tail() == "one\ntwo"


def test_full_fifo_stops_the_log_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError):
        Console(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with Console(tmp_path / "fifo") as console:
            console.feed(b"x" * (1 << 20))
            assert isinstance(console.log_error, BlockingIOError)
    finally:
        os.close(reader)


def test_log_in_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing/log: No such file"):
        Console(tmp_path / "missing" / "log")


async def test_follow_reads_until_end_of_file() -> None:
    ours, theirs = socket.socketpair()
    with Console() as console:
        task = asyncio.create_task(console.follow(ours))
        theirs.send(b"hello\n")
        theirs.close()
        await task
    assert console.tail() == "hello"
    assert ours.fileno() == -1
