"""The methods for the files of a guest, for programs without `async`."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, BinaryIO, Unpack, overload

from microvm.machine.files import (
    FileOptions,
    GetOptions,
    ListOptions,
    PutArchiveOptions,
    ReadOptions,
    WriteOptions,
)
from microvm.sync.bound import LoopBound

if TYPE_CHECKING:
    from microvm import Machine
    from microvm.guest.download import Received
    from microvm.guest.files import FileStatus, GuestPath
    from microvm.guest.upload import FileData


class FileMethods(LoopBound):
    """The methods of a machine for files; see `microvm.Machine`."""

    _machine: Machine

    def write_file(
        self,
        path: GuestPath,
        data: FileData,
        *,
        mode: int | None = None,
        atomic: bool = False,
        **options: Unpack[WriteOptions],
    ) -> None:
        """Write data to a file of the guest; see `microvm.MicroVM.write_file`."""
        self._do(self._machine.write_file(path, data, mode=mode, atomic=atomic, **options))

    @overload
    def read_file(
        self, path: GuestPath, *, encoding: None = None, **options: Unpack[ReadOptions]
    ) -> bytes: ...
    @overload
    def read_file(
        self, path: GuestPath, *, encoding: str, **options: Unpack[ReadOptions]
    ) -> str: ...
    def read_file(
        self, path: GuestPath, *, encoding: str | None = None, **options: Unpack[ReadOptions]
    ) -> bytes | str:
        """Return the content of a file of the guest; see `microvm.MicroVM.read_file`."""
        if encoding is None:
            return self._do(self._machine.read_file(path, **options))
        return self._do(self._machine.read_file(path, encoding=encoding, **options))

    def put(
        self, src: str | PathLike[str], dst: GuestPath, **options: Unpack[WriteOptions]
    ) -> None:
        """Copy a file or a folder of the host into the guest; see `microvm.MicroVM.put`."""
        self._do(self._machine.put(src, dst, **options))

    def get(
        self, src: GuestPath, dst: str | PathLike[str], **options: Unpack[GetOptions]
    ) -> Received:
        """Copy a file or a folder of the guest to the host; see `microvm.MicroVM.get`."""
        return self._do(self._machine.get(src, dst, **options))

    def put_archive(
        self, src: BinaryIO, dst: GuestPath, **options: Unpack[PutArchiveOptions]
    ) -> tuple[str, ...]:
        """Extract a tar archive into a folder of the guest; see `microvm.MicroVM.put_archive`."""
        return self._do(self._machine.put_archive(src, dst, **options))

    def get_archive(self, src: GuestPath, dst: BinaryIO, **options: Unpack[GetOptions]) -> Received:
        """Write files of the guest to a tar archive; see `microvm.MicroVM.get_archive`."""
        return self._do(self._machine.get_archive(src, dst, **options))

    def stat(
        self, path: GuestPath, *, follow_symlinks: bool = True, **options: Unpack[FileOptions]
    ) -> FileStatus:
        """Return the properties of a file of the guest; see `microvm.MicroVM.stat`."""
        return self._do(self._machine.stat(path, follow_symlinks=follow_symlinks, **options))

    def list(self, path: GuestPath, **options: Unpack[ListOptions]) -> tuple[FileStatus, ...]:
        """Return the entries of a folder of the guest; see `microvm.MicroVM.list`."""
        return self._do(self._machine.list(path, **options))
