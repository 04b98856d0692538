"""The files of a guest: looked at, read and written by its program `carry`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Any, BinaryIO

from microvm.concurrency.threads import in_thread
from microvm.errors import FileError, UsageError
from microvm.guest.download import Download, Received, name_of
from microvm.guest.exchange import Exchange, exchange
from microvm.guest.executor import Executor
from microvm.guest.limits import TransferLimits
from microvm.guest.upload import FileData, send_data, send_tree
from microvm.option import options_of
from microvm.options import ExecOptions, to_bytes
from microvm.units import Duration, Size, parse_count, parse_duration, parse_size
from microvm.wire import files
from microvm.wire.files import Action, ModeRule

GuestPath = str | bytes | os.PathLike[str]
"""A path in a guest; a relative one is relative to where commands run."""

GuestUser = str | bytes | int | None

# What a transfer may take unless its caller says otherwise: bytes, files and seconds.
MAX_READ = 64 << 20
MAX_SIZE = 1 << 30
MAX_FILES = 100_000
TIMEOUT = 600.0

_NEW_MODE = 0o644
_USER = options_of(ExecOptions)["user"]


@dataclass(frozen=True, slots=True)
class FileStatus:
    """What a guest says of one of its files.

    :ivar name: its name in its folder; of `stat`, the path that was asked about.
    :ivar mode: its type and permissions, as `os.stat_result.st_mode` has them.
    :ivar size: in bytes.
    :ivar mtime: when it was changed, in seconds since 1970.
    :ivar uid: its owner.
    :ivar gid: its group.
    :ivar target: what a link leads to, else empty.
    """

    name: str
    mode: int
    size: int
    mtime: float
    uid: int
    gid: int
    target: str

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        """Whether it is a link, which `target` is about."""
        return S_ISLNK(self.mode)


async def stat(
    guest: Executor,
    path: GuestPath,
    follow_symlinks: bool,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
) -> FileStatus:
    """Ask about one file; see `MicroVM.stat`."""
    action = Action.STAT if follow_symlinks else Action.LSTAT
    async with _asked(guest, action, path, user, timeout) as talk:
        entry = await talk.expect(files.Entry)
        await _finish(talk)
    return _status(entry, talk.path)


async def list(  # noqa: A001 - the method's name
    guest: Executor,
    path: GuestPath,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_files: int = MAX_FILES,
) -> tuple[FileStatus, ...]:
    """Ask what is in a folder; see `MicroVM.list`."""
    limits = TransferLimits(0, parse_count(max_files, least=0))
    found: dict[str, FileStatus] = {}  # what is replaced meanwhile may come twice
    async with _asked(guest, Action.LIST, path, user, timeout) as talk:
        while entry := await talk.expect_or(files.Entry, files.Done):
            limits.take(talk.path, entry)
            name = name_of(entry, talk.path)
            found[name] = _status(entry, name)
        await talk.end()
    return tuple(found[name] for name in sorted(found))


async def read_file(
    guest: Executor,
    path: GuestPath,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_size: Size = MAX_READ,
) -> bytes:
    """Return what a file holds; see `MicroVM.read_file`."""
    limits = TransferLimits(parse_size(max_size), 0)
    content = bytearray()
    async with _asked(guest, Action.READ, path, user, timeout) as talk:
        await talk.expect(files.Entry)
        while piece := await talk.expect_or(files.Data, files.Whole):
            limits.take(talk.path, piece)
            content += piece.data
        await _finish(talk)
    return bytes(content)


async def get(
    guest: Executor,
    source: GuestPath,
    destination: str | os.PathLike[str],
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_size: Size = MAX_SIZE,
    max_files: int = MAX_FILES,
) -> Received:
    """Copy a file or a folder to this host; see `MicroVM.get`."""
    limits = TransferLimits(parse_size(max_size), parse_count(max_files, least=0))
    async with _asked(guest, Action.GET, source, user, timeout) as talk:
        answer = await talk.receive()  # before anything is made here, whether it is there
        place = _place(talk.path, destination)
        async with Download(talk.path, place) as download:
            while not isinstance(answer, files.Done):
                limits.take(talk.path, answer)
                download.add(answer)
                answer = await talk.receive()
            if not download.is_whole:
                raise talk.misplaced()
            await talk.end()
            return await download.settle()


async def write_file(
    guest: Executor,
    path: GuestPath,
    data: FileData,
    mode: int | None,
    *,
    atomic: bool = False,
    user: GuestUser = None,
    owner: GuestUser = None,
    timeout: Duration = TIMEOUT,
) -> None:
    """Write data to a file; see `MicroVM.write_file`."""
    given = _NEW_MODE if mode is None else parse_count(mode, least=0, most=0o7777)
    rule = ModeRule.KEEP if mode is None else ModeRule.REQUIRE
    fields = {"mode_rule": rule, "replace": atomic, "owner": _user(owner)}
    async with _asked(guest, Action.PUT, path, user, timeout, **fields) as talk, _sending(talk):
        await send_data(talk, data, given)


async def put(
    guest: Executor,
    source: str | os.PathLike[str],
    destination: GuestPath,
    *,
    user: GuestUser = None,
    owner: GuestUser = None,
    timeout: Duration = TIMEOUT,
) -> None:
    """Copy a file or a folder into the guest; see `MicroVM.put`."""
    text = _existing(source)
    fields = {"name": os.fsencode(_base(text)), "owner": _user(owner)}
    async with (
        _asked(guest, Action.PUT, destination, user, timeout, **fields) as talk,
        _sending(talk),
    ):
        await send_tree(talk, Path(text))


async def put_archive(
    guest: Executor,
    archive: BinaryIO,
    destination: GuestPath,
    *,
    user: GuestUser = None,
    owner: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_size: Size = MAX_SIZE,
    max_files: int = MAX_FILES,
) -> tuple[str, ...]:
    """Put what is in an archive into a folder of the guest; see `MicroVM.put_archive`."""
    from microvm.guest.archive import ArchiveTree

    limits = TransferLimits(parse_size(max_size), parse_count(max_files, least=0))
    with ArchiveTree(os.fsdecode(to_bytes(destination)), limits) as tree:
        # The thread may be left behind, by a pipe whose writer takes its time.
        await in_thread(tree.read, archive)
        fields = {"owner": _user(owner)}
        async with (
            _asked(guest, Action.PUT, destination, user, timeout, **fields) as talk,
            _sending(talk),
        ):
            await tree.send(talk)
        return tuple(tree.left_out)


async def get_archive(
    guest: Executor,
    source: GuestPath,
    archive: BinaryIO,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_size: Size = MAX_SIZE,
    max_files: int = MAX_FILES,
) -> Received:
    """Write a file or a folder of the guest as an archive; see `MicroVM.get_archive`."""
    from tempfile import TemporaryDirectory

    from microvm.guest.archive import write
    from microvm.system.private import temporary_root

    name = _base(os.fsdecode(to_bytes(source)))
    folder = TemporaryDirectory(prefix="microvm-", dir=temporary_root())
    try:
        place = Path(folder.name, "tree")
        received = await get(
            guest,
            source,
            place,
            user=user,
            timeout=timeout,
            max_size=max_size,
            max_files=max_files,
        )
        await in_thread(write, place, name, archive)
    finally:
        await in_thread(folder.cleanup)
    return replace(received, path=Path(name or "."))


@asynccontextmanager
async def _sending(talk: Exchange) -> AsyncIterator[None]:
    """See to the end of what the block sends, whole or not."""
    try:
        yield
        await _finish(talk)
    except FileError:
        raise
    except (Exception, asyncio.CancelledError):
        await talk.give_up()
        raise


async def _finish(talk: Exchange) -> None:
    await talk.expect(files.Done)
    await talk.end()


@asynccontextmanager
async def _asked(
    guest: Executor,
    action: Action,
    path: GuestPath,
    user: GuestUser,
    timeout: Duration,
    **fields: Any,
) -> AsyncIterator[Exchange]:
    given: dict[str, Any] = {
        "mode_rule": ModeRule.PREFER,
        "replace": False,
        "name": b"",
        "owner": b"",
        **fields,
    }
    request = files.Request(
        action=action,
        path=to_bytes(path),
        cwd=to_bytes(guest.defaults.get("cwd") or b""),
        user=_user(guest.defaults.get("user") if user is None else user),
        **given,
    )
    async with exchange(guest, request, parse_duration(timeout)) as talk:
        yield talk


def _user(user: GuestUser) -> bytes:
    checked: bytes = b"" if user is None or user == b"" else _USER.check(user)
    return checked


def _status(entry: files.Entry, name: str) -> FileStatus:
    return FileStatus(
        name=name,
        mode=entry.mode,
        size=entry.size,
        mtime=entry.mtime / 1e9,
        uid=entry.uid,
        gid=entry.gid,
        target=os.fsdecode(entry.target),
    )


def _existing(source: str | os.PathLike[str]) -> str:
    """The path of what is here: if nothing is, that is said before the guest is asked."""
    Path(source).stat()
    return os.fspath(source)


def _base(path: str) -> str:
    """The name that a path gives to what is copied from it; empty where only its content is."""
    name = path.rstrip("/").rpartition("/")[2]
    return "" if name in (".", "..") else name


def _place(source: str, destination: str | os.PathLike[str]) -> Path:
    """Where a copy goes, as `cp` has it: into a folder that is there, else under that name.

    Folders that are missing on the way are made.
    """
    text = os.fspath(destination)
    if "\0" in text:
        raise UsageError(f"{text!r} is no path of a file")
    place = Path(text)
    name = _base(source)
    if name and (text.endswith("/") or place.is_dir()):
        place /= name
    place.parent.mkdir(parents=True, exist_ok=True)
    return place.resolve() if place.is_dir() else place
