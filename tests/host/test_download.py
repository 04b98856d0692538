"""Tests with random trees that a guest may send: no file is written outside the destination."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microvm.errors import FileError
from microvm.guest.download import Download, Received
from microvm.guest.order import Order
from microvm.wire import files
from microvm.wire.transfer import TRANSFER_GUEST, TRANSFER_HOST, TransferState

REQUEST = files.Request(
    action=files.Action.GET,
    mode_rule=files.ModeRule.PREFER,
    replace=0,
    recursive=0,
    idempotent=0,
    path=b"/from",
    name=b"",
    new_path=b"",
    pattern=b"",
    cwd=b"",
    user=b"",
    owner=b"",
)

NAMES = st.sampled_from([b"a", b"b", b"c", b".", b"..", b"", b"a/b", b"../x", b"/x", b"\xff"])
TARGETS = st.sampled_from([b".", b"a/..", b"b/..", b"a/../..", b"../a", b"..", b"/a"])
KINDS = st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, 0])

ENTRIES = st.builds(
    files.Entry,
    mode=st.builds(int.__or__, KINDS, st.integers(0, 0o7777)),
    size=st.just(0),
    mtime=st.integers(-(1 << 63), (1 << 63) - 1),
    uid=st.just(0),
    gid=st.just(0),
    name=NAMES,
    target=TARGETS,
)
DATA = st.builds(files.Data, data=st.binary(max_size=9))
MESSAGES = st.one_of(ENTRIES, DATA, st.just(files.Whole()))


MEMBERS = st.builds(
    replace,
    ENTRIES,
    mode=st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFLNK]),
    name=st.sampled_from([b"a", b"b"]),
)


@st.composite
def trees(draw: st.DrawFn) -> list[files.Message]:
    """Return a strategy of valid trees with distinct names, whose links have any target."""

    def folder(depth: int) -> list[files.Message]:
        sent: list[files.Message] = []
        members = st.lists(MEMBERS, max_size=2, unique_by=lambda entry: entry.name)
        for entry in draw(members):
            sent.append(entry)
            if stat.S_ISDIR(entry.mode):
                sent += [*(folder(depth - 1) if depth else []), files.Whole()]
            elif stat.S_ISREG(entry.mode):
                sent += [files.Data(data=b"x"), files.Whole()]
        return sent

    root = files.Entry(mode=stat.S_IFDIR, size=0, mtime=0, uid=0, gid=0, name=b"", target=b"")
    return [root, *folder(3), files.Whole()]


async def _arrive(messages: list[files.Message], home: Path) -> Received | None:
    order = Order()
    order.follow(REQUEST, TRANSFER_HOST)
    async with Download("/from", home / "to") as download:
        for message in messages:
            assert isinstance(message, files.Entry | files.Data | files.Whole)
            order.follow(message, TRANSFER_GUEST)
            download.add(message)
        return await download.settle() if order.state is TransferState.COMPLETE else None


def _check(home: Path, received: Received | None) -> None:
    """Check that the destination contains exactly the tree, and nothing harmful."""
    assert {path.name for path in home.iterdir()} == ({"to"} if received else set())
    if received is None:
        return
    count = 1
    for folder, folders, others in os.walk(home / "to"):
        for name in (*folders, *others):
            path = Path(folder, name)
            count += 1
            if path.is_symlink():
                assert not path.readlink().is_absolute()
                assert path.resolve(strict=False).is_relative_to((home / "to").resolve())
            else:
                assert path.is_dir() or path.is_file()
                assert not path.stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH)
    assert received.files == count


@pytest.mark.parametrize("message", [files.Data(data=b"x"), files.Whole()])
async def test_content_without_an_entry_is_refused(
    message: files.Data | files.Whole, tmp_path: Path
) -> None:
    async with Download("/from", tmp_path / "to") as download:
        with pytest.raises(FileError, match="belongs to no entry"):
            download.add(message)


@pytest.mark.thorough
@settings(max_examples=300, deadline=None)
@given(st.one_of(st.lists(MESSAGES, max_size=12), trees()))
def test_no_tree_is_written_outside_its_destination(messages: list[files.Message]) -> None:
    with tempfile.TemporaryDirectory() as above:
        home = Path(above, "home")
        home.mkdir()
        received = None
        with suppress(FileError, ValueError):
            received = asyncio.run(_arrive(messages, home))
        _check(home, received)
        assert [path.name for path in Path(above).iterdir()] == ["home"]
