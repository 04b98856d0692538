"""The limits on the amount of data that a guest may send in one transfer of files."""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import EFBIG

from microvm.errors import FileError
from microvm.wire.files import Data, Entry, Whole

# Limits of the total length of all names and link targets in a transfer: _NAME bytes for each file
# that the transfer may have, plus _LONG_NAMES bytes, so that a few names may be long.
_NAME = 100
_LONG_NAMES = 1 << 20


@dataclass(slots=True)
class TransferLimits:
    """The amounts of data that the guest may still send in a transfer of files.

    :ivar size: Number of bytes of content.
    :ivar files: Number of files, folders and links.
    :ivar names: Number of bytes of names and link targets, which are held in memory.
    """

    size: int
    files: int
    names: int = field(init=False)

    def __post_init__(self) -> None:
        self.names = _LONG_NAMES + _NAME * self.files

    def take(self, path: str, message: Entry | Data | Whole) -> None:
        """Subtract the files and bytes of a received message from what the guest may still send.

        :raises FileError: If a limit is exceeded.
        """
        match message:
            case Data():
                self.count(path, size=len(message.data))
            case Entry():
                self.count(path, names=len(message.name) + len(message.target), files=1)

    def count(self, path: str, *, size: int = 0, files: int = 0, names: int = 0) -> None:
        """Subtract numbers of content bytes, files and name bytes from what may still arrive.

        For the errors, see `take`.
        """
        self.size -= size
        self.files -= files
        self.names -= names
        if self.size < 0:
            raise _too_much(path, "a higher max_size allows more bytes")
        if self.files < 0:
            raise _too_much(path, "a higher max_files allows more files")
        if self.names < 0:
            raise _too_much(path, f"max_files allows {_NAME} bytes of names for each file")


def _too_much(path: str, hint: str) -> FileError:
    return FileError(EFBIG, path, f"{path}: it exceeds a limit of the transfer", hint=hint)
