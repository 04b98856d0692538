"""The methods of a machine that are about files in it."""

from __future__ import annotations

import posixpath
from os import PathLike
from typing import TYPE_CHECKING, BinaryIO, TypedDict, Unpack, overload

from microvm.options import ExecOptions, to_bytes
from microvm.units import Duration, Size, parse_duration

# The rest is imported with the first file, so that a machine starts without it.
if TYPE_CHECKING:
    from microvm.guest.download import Received
    from microvm.guest.executor import Executor
    from microvm.guest.files import FileStatus, GuestPath, GuestUser
    from microvm.guest.upload import FileData

LEAST_TO_COLLECT = 60.0
"""The seconds that a file may take which is collected after a command of little time."""


class FileOptions(TypedDict, total=False):
    """Keyword arguments of all that is about files.

    :ivar user: whom to act as: NAME or UID, or either with :GROUP; by default as whom commands run.
    :ivar timeout: seconds, or text as `2m`; by default ten minutes.
    """

    user: GuestUser
    timeout: Duration


class WriteOptions(FileOptions, total=False):
    """Keyword arguments of the methods that write files.

    :ivar owner: the owner of the files that are written. By default, new files belong to `user`,
        and existing files keep their owner.
    """

    owner: GuestUser


class ReadOptions(FileOptions, total=False):
    """Keyword arguments of what reads one file.

    :ivar max_size: the bytes that may come, or text as `64M`, which is the default; of `get` 1G.
    """

    max_size: Size


class ListOptions(FileOptions, total=False):
    """Keyword arguments of what may give many files.

    :ivar max_files: how many files, folders and links may come; by default 100,000.
    """

    max_files: int


class GetOptions(ReadOptions, ListOptions, total=False):
    """Keyword arguments of `MicroVM.get`."""


def in_folder(path: GuestPath, how: ExecOptions) -> bytes:
    """Return a path that is relative to where a command runs, as the guest takes it."""
    folder = to_bytes(how.get("cwd") or b"")
    # Not as a `Path`, which would take a `/` or a `/.` from its end.
    return posixpath.join(folder, to_bytes(path))


def as_user(how: ExecOptions) -> FileOptions:
    """Return the keyword arguments by which files are a command's user's."""
    user = how.get("user")
    return {"user": user} if user else {}


def collected(how: ExecOptions) -> FileOptions:
    """Return the keyword arguments by which a file is collected after a command.

    It may take as long as the command might, or a little longer.
    """
    timeout = how.get("timeout")
    if timeout is None:
        return as_user(how)
    return {**as_user(how), "timeout": max(parse_duration(timeout), LEAST_TO_COLLECT)}


class PutArchiveOptions(WriteOptions, GetOptions, total=False):
    """Keyword arguments of `MicroVM.put_archive`."""


class FileMethods:
    """The files of a machine: each method is one transfer, and the command in flight meanwhile.

    A path in the guest is text, bytes or a path; a relative one is relative to where commands run.
    What of the guest's cannot be had or written is a `FileError`, which is also Python's own error
    of that kind; what of ours cannot, is Python's own alone. Every method raises Busy, UsageError,
    ExecTimeout and MachineError as `run` does, and ImageError for a guest that has another build of
    what carries files.
    """

    def _guest(self) -> Executor:
        raise NotImplementedError

    async def write_file(
        self,
        path: GuestPath,
        data: FileData,
        *,
        mode: int | None = None,
        atomic: bool = False,
        **options: Unpack[WriteOptions],
    ) -> None:
        """Write data to a file of the guest; missing folders are created.

        A file that exists is opened and written with the user's rights: it keeps its owner, its
        mode and its hard links, and one that the user may not write is refused. If the transfer
        fails midway, the file is left partly written, as with a shell's `>`. A new file appears
        whole under its name, or not at all. A FIFO or another special file is opened and written,
        too.

        :param data: bytes, text, a file to read them from, or an iterable of bytes, asynchronous or
            not, which is asked in the event loop.
        :param mode: permissions, such as 0o755; by default those of the file that exists, else
            0o644. Only the owner of a file that exists and root may change them.
        :param atomic: replace the file instead of writing to it. The new file gets its name when it
            is complete, so nobody reads a part of it, and a failed transfer changes nothing. The
            user needs the right to write to the folder, and no right on the file. Hard links keep
            the old content. The new file belongs to `user`, unless that is root.
        :param options: see `WriteOptions`.
        :raises FileError: it cannot be written.
        """
        from microvm.guest import files

        await files.write_file(self._guest(), path, data, mode, atomic=atomic, **options)

    @overload
    async def read_file(
        self, path: GuestPath, *, encoding: None = None, **options: Unpack[ReadOptions]
    ) -> bytes: ...
    @overload
    async def read_file(
        self, path: GuestPath, *, encoding: str, **options: Unpack[ReadOptions]
    ) -> str: ...
    async def read_file(
        self, path: GuestPath, *, encoding: str | None = None, **options: Unpack[ReadOptions]
    ) -> bytes | str:
        """Return what a file holds, or what else can be read under its name up to the end.

        :param encoding: asks for text.
        :param options: see `ReadOptions`.
        :raises FileError: it cannot be read, or is larger than it may be.
        :raises UnicodeError: text was asked for, and it is none.
        """
        from microvm.guest import files

        data = await files.read_file(self._guest(), path, **options)
        return data if encoding is None else data.decode(encoding)

    async def put(
        self, src: str | PathLike[str], dst: GuestPath, **options: Unpack[WriteOptions]
    ) -> None:
        """Copy a file or a folder of this host into the guest, as `cp -R` and `docker cp` do.

        Into a folder that is there, or where `dst` ends with a slash, it is put under its own name,
        else it becomes `dst`. Of a source that ends with `/.` the content is put into `dst`. Modes
        and times stay; folders that are there get what they lack. `src` may be a link, and links in
        it stay links; what is neither a file, a folder nor a link is left out.

        A file that exists in the guest is opened and written with the user's rights, as by
        `write_file`; it gets the mode and the time of the source if the user owns it.

        :param options: see `WriteOptions`.
        :raises OSError: of Python's own: the source cannot be read.
        :raises FileError: it cannot be written.
        """
        from microvm.guest import files

        await files.put(self._guest(), src, dst, **options)

    async def get(
        self, src: GuestPath, dst: str | PathLike[str], **options: Unpack[GetOptions]
    ) -> Received:
        """Copy a file or a folder of the guest to this host, by the same rules as `put`.

        It is in its place only when it is whole. The guest may mean harm: nothing that it sends is
        written elsewhere or through a link; links that lead out of what is copied are left out, as
        are devices, and with them the permissions of others to write, set-user-ID and the like.

        :param options: see `GetOptions`.
        :return: where it is, how much there is, and which links were left out.
        :raises OSError: of Python's own: the destination cannot be written.
        :raises FileError: it cannot be read, or there is more of it than may come.
        """
        from microvm.guest import files

        return await files.get(self._guest(), src, dst, **options)

    async def put_archive(
        self, src: BinaryIO, dst: GuestPath, **options: Unpack[PutArchiveOptions]
    ) -> tuple[str, ...]:
        """Put what is in an archive of `tar` into a folder of the guest, as `docker cp -` does.

        It may be compressed. It is read to its end before anything is written, so one that is cut
        short or damaged changes nothing, and what it holds is kept in a file of the host until
        then. One that leads out of `dst`, by `..` or through a link of its own, is refused; of
        names from `/` on that is left out. Owners are not kept, nor are devices and FIFOs.

        :param src: a file to read it from, such as `sys.stdin.buffer`.
        :param dst: made if it is missing; folders that are there get what they lack.
        :param options: see `PutArchiveOptions`; the limits are of what is in the archive.
        :return: the names of devices and FIFOs in it, which were left out.
        :raises UsageError: it is no archive, or none that can be taken.
        :raises OSError: of Python's own: it cannot be read, or kept.
        :raises FileError: it cannot be written, or there is more in it than may come.
        """
        from microvm.guest import files

        return await files.put_archive(self._guest(), src, dst, **options)

    async def get_archive(
        self, src: GuestPath, dst: BinaryIO, **options: Unpack[GetOptions]
    ) -> Received:
        """Write a file or a folder of the guest as an archive of `tar`, as `docker cp` does.

        The rules are those of `get`. It is begun when everything has come, which is kept in a
        folder of the host until it is written. In it, all is root's.

        :param dst: a file to write it to, such as `sys.stdout.buffer`.
        :param options: see `GetOptions`.
        :return: what `get` returns; its `path` is the one in the archive.
        :raises OSError: of Python's own: it cannot be written, or kept.
        :raises FileError: it cannot be read, or there is more of it than may come.
        """
        from microvm.guest import files

        return await files.get_archive(self._guest(), src, dst, **options)

    async def stat(
        self, path: GuestPath, *, follow_symlinks: bool = True, **options: Unpack[FileOptions]
    ) -> FileStatus:
        """Return what the guest says of a file.

        :param options: see `FileOptions`.
        :raises FileError: it cannot be looked at.
        """
        from microvm.guest import files

        return await files.stat(self._guest(), path, follow_symlinks, **options)

    async def list(self, path: GuestPath, **options: Unpack[ListOptions]) -> tuple[FileStatus, ...]:
        """Return what is in a folder, sorted by name; links are not followed.

        :param options: see `ListOptions`.
        :raises FileError: it cannot be read, or there is more in it than may come.
        """
        from microvm.guest import files

        return await files.list(self._guest(), path, **options)
