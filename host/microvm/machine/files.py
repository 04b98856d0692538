"""The methods of a machine for the files of its guest."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, BinaryIO, TypedDict, Unpack, overload

from microvm import machine
from microvm.options import ExecOptions, to_bytes
from microvm.units import Duration, Size, parse_duration

# Import the other modules that copy files when a method of `FileMethods` is first called. An import
# here would make the start of each machine slower.
if TYPE_CHECKING:
    from microvm.guest.download import Received
    from microvm.guest.executor import Executor
    from microvm.guest.file_request import GuestPath, GuestUser
    from microvm.guest.files import FileStatus
    from microvm.guest.upload import FileData

LEAST_TO_COLLECT = 60.0
"""Time limit in seconds for reading a file after a command, if the command's own is shorter."""


class FileOptions(TypedDict, total=False):
    """Keyword arguments of all methods for files.

    :ivar user: User with whose rights the files are read and written: NAME or UID, or either with
        :GROUP. The default is the user who runs commands.
    :ivar timeout: Time limit in seconds, or as text such as `2m`. The default is ten minutes.
    """

    user: GuestUser
    timeout: Duration


class WriteOptions(FileOptions, total=False):
    """Keyword arguments of the methods that write files into the guest.

    :ivar owner: Owner of the written files. By default, new files belong to `user`, and existing
        files keep their owner.
    """

    owner: GuestUser


class PutOptions(WriteOptions, total=False):
    """Keyword arguments of `MicroVM.put`.

    :ivar exclude: Shell patterns of files and folders that are left out, such as `.git` or `*.pyc`.
        A pattern with a slash is compared with the path below the copied folder, any other pattern
        with each name. As in tar, `*` also matches slashes.
    """

    exclude: Sequence[str]


class ReadOptions(FileOptions, total=False):
    """Keyword arguments of `MicroVM.read_file`.

    :ivar max_size: Maximum size in bytes, or as text such as `64M`. The default is 64M for
        `read_file` and 1G for the other methods.
    """

    max_size: Size


class ListOptions(FileOptions, total=False):
    """Keyword arguments of `MicroVM.list`.

    :ivar max_files: Maximum number of files, folders and links. The default is 100,000.
    """

    max_files: int


class GetOptions(ReadOptions, ListOptions, total=False):
    """Keyword arguments of `MicroVM.get` and `get_archive`.

    :ivar exclude: Patterns of files and folders that are left out, as for `PutOptions`. The guest
        sends these files, too, and they count for the limits.
    """

    exclude: Sequence[str]


def in_folder(path: GuestPath, how: ExecOptions) -> bytes:
    """Join a path of the guest to the working directory in `how`, the options of a command.

    An absolute path is returned unchanged.
    """
    folder = to_bytes(how.get("cwd") or b"")
    # Do not use `Path`, because it removes a `/` or `/.` at the end of a path. These characters
    # must be kept, because they decide whether a copy is placed into a folder.
    return posixpath.join(folder, to_bytes(path))


def as_user(how: ExecOptions) -> FileOptions:
    """Return the option `user` for file methods: the user in `how`, the options of a command."""
    user = how.get("user")
    return {"user": user} if user else {}


def collected(how: ExecOptions) -> FileOptions:
    """Return options for reading a command's result files, based on `how`, the command's options.

    The files are read as the user of the command. The time limit is the command's own limit, but at
    least `LEAST_TO_COLLECT`.
    """
    options = as_user(how)
    if (timeout := how.get("timeout")) is not None:
        options["timeout"] = max(parse_duration(timeout), LEAST_TO_COLLECT)
    return options


class PutArchiveOptions(WriteOptions, ReadOptions, ListOptions, total=False):
    """Keyword arguments of `MicroVM.put_archive`."""


class FileMethods:
    """The methods of a machine for the files of its guest.

    Paths in the guest are text, bytes or path objects. A relative path is relative to the working
    directory of commands. Errors of the guest's files are FileError, and also Python's error of the
    same kind. Errors of the host's files are Python's errors alone. Each method counts as a
    command, so it also raises Busy, UsageError, ExecTimeout and MachineError as `run` does. It
    raises ImageError if the image was built by a version of microvm whose program for files is
    incompatible.
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
        """Write data to a file of the guest. Missing folders are created.

        An existing file is opened and overwritten with the rights of the user. It keeps its owner,
        mode and hard links. If the transfer fails, the file may be incomplete. A new file gets its
        name when it is complete. A FIFO or another special file is opened and written, too.

        :param data: Bytes, text, a file to read from, or an iterable of bytes. An iterable is read
            in the event loop, so it must not block.
        :param mode: Permissions, such as 0o755. By default, an existing file keeps its permissions,
            and a new file gets 0o644. Only its owner and root can change the permissions of an
            existing file.
        :param atomic: True to replace the file instead of overwriting it, so that no reader sees an
            incomplete file, and a failed transfer changes nothing. The user then needs write
            permission for the folder, but not for the file. The new file belongs to `user`, or to
            the previous owner if that is root. Hard links keep the old content.
        :param options: See `WriteOptions`.
        :raises FileError: If the file cannot be written.
        """
        await machine.guest_files.write_file(
            self._guest(), path, data, mode, atomic=atomic, **options
        )

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
        """Return the content of a regular file of the guest.

        Devices, FIFOs and sockets are refused, because a read from them may never end.

        :param encoding: Encoding to decode the content with. None returns bytes.
        :param options: See `ReadOptions`.
        :raises FileError: If the file cannot be read, or exceeds `max_size`.
        :raises UnicodeError: If the content cannot be decoded.
        """
        data = await machine.guest_files.read_file(self._guest(), path, **options)
        return data if encoding is None else data.decode(encoding)

    async def put(
        self, src: str | PathLike[str], dst: GuestPath, **options: Unpack[PutOptions]
    ) -> None:
        """Copy a file or a folder of the host into the guest, as `cp -R` and `docker cp` do.

        If `dst` is an existing folder or ends with a slash, the copy is placed in it under the name
        of the source. Otherwise the copy gets the path `dst`. If `src` ends with `/.`, the content
        of the folder is copied. Existing folders are merged. Modes and times are preserved. Links
        inside of a folder are copied as links; other special files are left out. Existing files are
        overwritten as by `write_file`, and get the mode and time of the source if `user` owns them.

        :param options: See `PutOptions`.
        :raises OSError: If the source cannot be read.
        :raises FileError: If a file cannot be written in the guest.
        """
        await machine.guest_files.put(self._guest(), src, dst, **options)

    async def get(
        self, src: GuestPath, dst: str | PathLike[str], **options: Unpack[GetOptions]
    ) -> Received:
        """Copy a file or a folder of the guest to the host, by the same rules as `put`.

        The copy gets its name when it is complete. A hostile guest cannot write elsewhere: links
        that lead out of the copied folder, and devices, are left out. Write permissions for others,
        set-user-ID and similar permissions are removed.

        :param options: See `GetOptions`.
        :return: Path and size of the copy, and the links that were left out.
        :raises OSError: If the destination cannot be written.
        :raises FileError: If a file cannot be read in the guest, or a limit is exceeded.
        """
        return await machine.guest_files.get(self._guest(), src, dst, **options)

    async def put_archive(
        self, src: BinaryIO, dst: GuestPath, **options: Unpack[PutArchiveOptions]
    ) -> tuple[str, ...]:
        """Extract a tar archive into a folder of the guest, as `docker cp -` does.

        The archive may be compressed. It is read completely, into a temporary file of the host,
        before anything is written, so a damaged archive changes nothing. An archive with entries
        outside of `dst`, through `..` or links, is refused. A leading `/` is removed from names.
        Owners are not preserved. Devices and FIFOs are left out.

        :param src: Open file to read the archive from, such as `sys.stdin.buffer`.
        :param dst: Folder in the guest. It is created if it does not exist.
        :param options: See `PutArchiveOptions`. The limits apply to the extracted files.
        :return: Names of the devices and FIFOs that were left out.
        :raises UsageError: If the archive is invalid.
        :raises OSError: If the archive cannot be read or stored.
        :raises FileError: If a file cannot be written in the guest, or a limit is exceeded.
        """
        return await machine.guest_files.put_archive(self._guest(), src, dst, **options)

    async def get_archive(
        self, src: GuestPath, dst: BinaryIO, **options: Unpack[GetOptions]
    ) -> Received:
        """Write a file or a folder of the guest to a tar archive, as `docker cp` does.

        The rules are those of `get`. All files are stored in a temporary folder of the host before
        the archive is written. In the archive, root owns all files.

        :param dst: Open file to write the archive to, such as `sys.stdout.buffer`.
        :param options: See `GetOptions`.
        :return: The same as `get`; `path` is the name in the archive.
        :raises OSError: If the archive cannot be written or stored.
        :raises FileError: If a file cannot be read in the guest, or a limit is exceeded.
        """
        return await machine.guest_files.get_archive(self._guest(), src, dst, **options)

    async def make_dir(
        self,
        path: GuestPath,
        *,
        parents: bool = True,
        exist_ok: bool = True,
        **options: Unpack[WriteOptions],
    ) -> None:
        """Create a folder in the guest, with mode 0o755.

        :param parents: False to raise an error if the parent folder does not exist. By default,
            all missing parent folders are created.
        :param exist_ok: False to raise an error if the folder exists already.
        :param options: See `WriteOptions`. The created folders get `owner`.
        :raises FileError: If the folder cannot be created, or a file has its path.
        """
        await machine.changes.make_dir(self._guest(), path, parents, exist_ok, **options)

    async def remove(
        self,
        path: GuestPath,
        *,
        recursive: bool = False,
        missing_ok: bool = False,
        **options: Unpack[FileOptions],
    ) -> None:
        """Remove a file or a link of the guest, or a folder with everything in it, as `rm -r` does.

        Links are removed, but not followed. Mount points and their contents are kept, which raises
        an error. If a file cannot be removed, the other files of the folder are removed first.

        :param recursive: True to remove folders, too. By default, a folder raises IsAFolder.
        :param missing_ok: True to do nothing if the path does not exist.
        :param options: See `FileOptions`.
        :raises FileError: If a file cannot be removed. `filename` is the path of the first one.
        """
        await machine.changes.remove(self._guest(), path, recursive, missing_ok, **options)

    async def rename(self, src: GuestPath, dst: GuestPath, **options: Unpack[FileOptions]) -> None:
        """Change the path of a file or a folder in the guest, as `os.rename` does.

        An existing file at `dst` is replaced, and so is an empty folder if `src` is a folder.

        :param options: See `FileOptions`.
        :raises FileError: If the file cannot be renamed, for example because `dst` is on another
            file system (errno EXDEV). A folder that belongs to the image may count as such.
        """
        await machine.changes.rename(self._guest(), src, dst, **options)

    async def stat(
        self, path: GuestPath, *, follow_symlinks: bool = True, **options: Unpack[FileOptions]
    ) -> FileStatus:
        """Return the size, mode, owner and other properties of a file of the guest.

        :param follow_symlinks: False to return the properties of a link itself.
        :param options: See `FileOptions`.
        :raises FileError: If the properties cannot be read.
        """
        return await machine.guest_files.stat(self._guest(), path, follow_symlinks, **options)

    async def exists(self, path: GuestPath, **options: Unpack[FileOptions]) -> bool:
        """Return True if a file or folder of the guest exists. Links are followed.

        :param options: See `FileOptions`.
        :raises FileError: If a folder of the path may not be entered.
        """
        return await machine.guest_files.exists(self._guest(), path, **options)

    async def realpath(self, path: GuestPath, **options: Unpack[FileOptions]) -> str:
        """Return the absolute path of a file of the guest, without links, `.` and `..`.

        Components of the path may be missing, as of a file that will be written.

        :param options: See `FileOptions`.
        :raises FileError: If links lead in a circle, or the path gets too long.
        """
        return await machine.guest_files.realpath(self._guest(), path, **options)

    async def list(
        self, path: GuestPath, *, follow_symlinks: bool = False, **options: Unpack[ListOptions]
    ) -> tuple[FileStatus, ...]:
        """Return the entries of a folder of the guest, sorted by name.

        :param follow_symlinks: True to return the properties of a link's target, if it exists.
            By default, the properties of the link itself are returned.
        :param options: See `ListOptions`.
        :raises FileError: If the folder cannot be read, or has more than `max_files` entries.
        """
        return await machine.guest_files.list(self._guest(), path, follow_symlinks, **options)

    async def glob(
        self, pattern: GuestPath, *, cwd: GuestPath = "", **options: Unpack[ListOptions]
    ) -> tuple[FileStatus, ...]:
        """Return the files and folders whose paths match a pattern, sorted by their paths.

        The rules are those of Python's `glob`: `*` matches any characters of a name, `?` one
        character, `[a-z]` and `[!a-z]` one that is in a set or not, and `[*]` a star. `**` matches
        any number of folders. A name that begins with a dot needs a component that does. Links are
        followed, except by `**`, and the properties are those of their targets. The guest expands
        the pattern, without a shell. The host checks that each path matches.

        :param pattern: Pattern of paths, such as `out/*.csv`.
        :param cwd: Folder to which a relative pattern and the returned paths are relative. By
            default, it is the working directory of commands.
        :param options: See `ListOptions`. The default of `max_files` is 10,000 here.
        :return: The properties of each file, with its path as the name. It is empty if nothing
            matches.
        :raises UsageError: If `..` follows a special character in the pattern.
        :raises FileError: If the folder before the first special character cannot be read, or if
            more than `max_files` files match.
        """
        return await machine.guest_files.glob(self._guest(), pattern, cwd=cwd, **options)
