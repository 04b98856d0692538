"""Functions that read, write and copy files of a guest, through the guest's program `carry`."""

from __future__ import annotations

import asyncio
import os
import posixpath
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from errno import EINVAL, ELOOP, ENOENT, ENOTDIR
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from microvm.concurrency.threads import in_thread
from microvm.errors import FileError, UsageError
from microvm.guest.archive import ArchiveTree
from microvm.guest.archive import write as write_archive
from microvm.guest.download import Download, Received, name_of
from microvm.guest.exchange import Exchange, give_up
from microvm.guest.exclusion import Exclusion
from microvm.guest.executor import Executor
from microvm.guest.file_request import TIMEOUT, GuestPath, GuestUser, requested, with_options
from microvm.guest.limits import TransferLimits
from microvm.guest.pattern import Pattern
from microvm.guest.upload import FileData, send_data, send_tree
from microvm.options import to_bytes
from microvm.system.private import temporary_root
from microvm.units import Duration, Size, parse_count, parse_size
from microvm.wire import files
from microvm.wire.files import Action, ModeRule

# Default limits of a transfer: number of bytes, and number of files.
MAX_READ = 64 << 20
MAX_SIZE = 1 << 30
MAX_FILES = 100_000

# Default maximum number of files that a pattern matches. The host stores all their paths, and
# copies each of these files by a request of its own.
MAX_MATCHES = 10_000

_NEW_MODE = 0o644


@dataclass(frozen=True, slots=True)
class FileStatus:
    """The status of a file in a guest, such as its type, size and owner.

    :ivar name: Name of the file in its folder; for `stat`, the path that was given; for `glob`, the
        path of the file.
    :ivar mode: Type and permissions, as in `os.stat_result.st_mode`.
    :ivar size: Size in bytes.
    :ivar mtime: Time of the last modification, in seconds since 1970.
    :ivar uid: Id of the owner.
    :ivar gid: Id of the group.
    :ivar target: Target of a symbolic link; otherwise empty.
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
        """True if the file is a regular file, in contrast to a folder, a link or a device."""
        return S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        """True if the file is a folder."""
        return S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        """True if the file is a symbolic link; `target` is then the target of the link."""
        return S_ISLNK(self.mode)


@with_options("follow_symlinks")
async def stat(
    guest: Executor,
    path: GuestPath,
    follow_symlinks: bool,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
) -> FileStatus:
    """Return the status of one file; see `MicroVM.stat`."""
    action = Action.STAT if follow_symlinks else Action.LSTAT
    path, entry = await _asked(guest, action, path, user, timeout)
    return _status(entry, path)


@with_options()
async def exists(
    guest: Executor, path: GuestPath, *, user: GuestUser = None, timeout: Duration = TIMEOUT
) -> bool:
    """Return True if a file exists; see `MicroVM.exists`."""
    try:
        await _asked(guest, Action.STAT, path, user, timeout)
    except FileError as error:
        if error.errno not in (ENOENT, ENOTDIR, ELOOP):
            raise
        return False
    return True


@with_options()
async def realpath(
    guest: Executor, path: GuestPath, *, user: GuestUser = None, timeout: Duration = TIMEOUT
) -> str:
    """Return the path without symbolic links; see `MicroVM.realpath`."""
    _, entry = await _asked(guest, Action.RESOLVE, path, user, timeout)
    return os.fsdecode(entry.target)


async def _asked(
    guest: Executor, action: Action, path: GuestPath, user: GuestUser, timeout: Duration
) -> tuple[str, files.Entry]:
    """Send a request that has one entry as its answer. Return the requested path and the entry."""
    async with requested(guest, action, path, user, timeout) as transfer:
        (entry,) = [each async for each in transfer.answers() if isinstance(each, files.Entry)]
    return transfer.path, entry


@with_options("follow_symlinks")
async def list(  # noqa: A001 - the method's name
    guest: Executor,
    path: GuestPath,
    follow_symlinks: bool = False,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_files: int = MAX_FILES,
) -> tuple[FileStatus, ...]:
    """Return the status of each file in a folder; see `MicroVM.list`."""
    limits = TransferLimits(0, parse_count(max_files, least=0))
    # If a file is replaced while the guest reads the folder, the guest may list the file twice. The
    # dictionary keeps one status for each name.
    found: dict[str, FileStatus] = {}
    action = Action.LIST_TARGETS if follow_symlinks else Action.LIST
    async with requested(guest, action, path, user, timeout) as transfer:
        async for message in transfer.answers():
            limits.take(transfer.path, message)
            if isinstance(message, files.Entry):
                name = name_of(message, transfer.path)
                found[name] = _status(message, name)
    return tuple(found[name] for name in sorted(found))


@with_options()
async def glob(
    guest: Executor,
    pattern: GuestPath,
    *,
    cwd: GuestPath = "",
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_files: int = MAX_MATCHES,
) -> tuple[FileStatus, ...]:
    """Return the status of each file whose path matches a pattern; see `MicroVM.glob`."""
    limits = TransferLimits(0, parse_count(max_files, least=0))
    wanted = Pattern.parse(pattern)
    base = posixpath.join(to_bytes(cwd), to_bytes(wanted.base)) or b"."
    found: dict[str, FileStatus] = {}
    async with requested(guest, Action.MATCH, base, user, timeout, pattern=wanted.text) as transfer:
        async for message in transfer.answers():
            limits.take(str(wanted), message)
            if isinstance(message, files.Entry):
                path = wanted.path_of(message.target)
                if S_ISDIR(message.mode) or not wanted.needs_folder:
                    found[path] = replace(_status(message, path), target="")
    return tuple(found[path] for path in sorted(found))


@with_options("encoding")
async def read_file(
    guest: Executor,
    path: GuestPath,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_size: Size = MAX_READ,
) -> bytes:
    """Return the content of a file; see `MicroVM.read_file`."""
    limits = TransferLimits(parse_size(max_size), 0)
    content = bytearray()
    async with requested(guest, Action.READ, path, user, timeout) as transfer:
        async for message in transfer.answers():
            if isinstance(message, files.Data):
                limits.take(transfer.path, message)
                content += message.data
            elif isinstance(message, files.Entry) and not S_ISREG(message.mode):
                reason = f"{transfer.path}: it is not a regular file"
                raise FileError(EINVAL, transfer.path, reason)
    return bytes(content)


@with_options()
async def get(
    guest: Executor,
    source: GuestPath,
    destination: str | os.PathLike[str],
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_size: Size = MAX_SIZE,
    max_files: int = MAX_FILES,
    exclude: Sequence[str] = (),
) -> Received:
    """Copy the guest's file or folder `source` to the host; see `MicroVM.get`."""
    limits = TransferLimits(parse_size(max_size), parse_count(max_files, least=0))
    exclusion = Exclusion(exclude)
    async with requested(guest, Action.GET, source, user, timeout) as transfer:
        # If the source is missing, this raises an error before anything on the host is changed.
        answer = await transfer.receive()
        target = _target(transfer.path, destination)
        async with Download(transfer.path, target, exclusion) as download:
            while not isinstance(answer, files.Done):
                limits.take(transfer.path, answer)
                download.add(answer)
                answer = await transfer.receive()
            await transfer.end()
            return await download.settle()


@with_options("mode")
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
    fields = {"mode_rule": rule, "replace": atomic}
    async with _sending(guest, path, user, owner, timeout, **fields) as transfer:
        await send_data(transfer, data, given)


@with_options()
async def put(
    guest: Executor,
    source: str | os.PathLike[str],
    destination: GuestPath,
    *,
    user: GuestUser = None,
    owner: GuestUser = None,
    exclude: Sequence[str] = (),
    timeout: Duration = TIMEOUT,
) -> None:
    """Copy the host's file or folder `source` into the guest; see `MicroVM.put`."""
    exclusion = Exclusion(exclude)
    os.stat(source)  # noqa: PTH116 - raises an error if the source does not exist
    name = os.fsencode(_basename(os.fspath(source)))
    async with _sending(guest, destination, user, owner, timeout, name=name) as transfer:
        await send_tree(transfer, Path(source), exclusion)


@with_options()
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
    """Unpack an archive into the guest's folder `destination`; see `MicroVM.put_archive`."""
    limits = TransferLimits(parse_size(max_size), parse_count(max_files, least=0))
    with ArchiveTree(os.fsdecode(to_bytes(destination)), limits) as tree:
        # Read the archive in a thread, because it may be a pipe without data. If the caller is
        # cancelled, the thread continues to wait for data.
        await in_thread(tree.read, archive)
        async with _sending(guest, destination, user, owner, timeout) as transfer:
            await tree.send(transfer)
        return tuple(tree.left_out)


@with_options()
async def get_archive(
    guest: Executor,
    source: GuestPath,
    archive: BinaryIO,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
    max_size: Size = MAX_SIZE,
    max_files: int = MAX_FILES,
    exclude: Sequence[str] = (),
) -> Received:
    """Write the guest's file or folder `source` to an archive; see `MicroVM.get_archive`."""
    name = _basename(os.fsdecode(to_bytes(source)))
    folder = TemporaryDirectory(prefix="microvm-", dir=temporary_root())
    try:
        copy = Path(folder.name, "tree")
        received = await get(
            guest,
            source,
            copy,
            user=user,
            timeout=timeout,
            max_size=max_size,
            max_files=max_files,
            exclude=exclude,
        )
        await in_thread(write_archive, copy, name, archive)
    finally:
        await in_thread(folder.cleanup)
    return replace(received, path=Path(name or "."))


@asynccontextmanager
async def _sending(
    guest: Executor,
    path: GuestPath,
    user: GuestUser,
    owner: GuestUser,
    timeout: Duration,
    **fields: Any,
) -> AsyncIterator[Exchange]:
    """Context manager that requests an upload with `fields`, and whose block sends the files.

    After the block, wait until the guest has written the files. If the block fails, cancel the
    transfer. `fields` are fields of the request to the guest.
    """
    async with requested(guest, Action.PUT, path, user, timeout, owner=owner, **fields) as transfer:
        try:
            yield transfer
            await transfer.receive()
            await transfer.end()
        except FileError:
            raise
        except (Exception, asyncio.CancelledError):
            await give_up(transfer.process)
            raise


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


def _basename(path: str) -> str:
    """Return the last component of a path; "" for a path such as `folder/.`.

    A path without a last component means the content of the folder, not the folder itself.
    """
    name = path.rstrip("/").rpartition("/")[2]
    return "" if name in (".", "..") else name


def _target(source: str, destination: str | os.PathLike[str]) -> Path:
    """Return the host's path for a copy of `source`, chosen as `cp` does; create parent folders.

    If `destination` is an existing folder, the copy is created in it; otherwise `destination` is
    the path of the copy.
    """
    text = os.fspath(destination)
    if "\0" in text:
        raise UsageError(f"{text!r} is not a valid path")
    target = Path(text)
    name = _basename(source)
    if name and (text.endswith("/") or target.is_dir()):
        target /= name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target.resolve() if target.is_dir() else target
