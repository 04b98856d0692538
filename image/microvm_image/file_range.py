"""A range of bytes in an open file. Archives within archives are read in place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from microvm import cache
from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError

CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileRange:
    """A range of bytes in an open file. The owner of the file keeps it open.

    :ivar descriptor: The descriptor of the file.
    :ivar start: The offset of the first byte in the file.
    :ivar size: The number of bytes.
    """

    descriptor: int
    start: int
    size: int

    @classmethod
    def of(cls, path: Path, files: ExitStack) -> FileRange:
        """Open a file, and return all of its bytes as a range. The file is closed with `files`.

        :raises OSError: It cannot be opened, or is no regular file.
        """
        descriptor = cache.open_plain(path)
        files.callback(os.close, descriptor)
        return cls(descriptor, 0, os.fstat(descriptor).st_size)

    def part(self, offset: int, size: int) -> FileRange:
        """Return a range within this range, which is shortened if it extends beyond the end."""
        return FileRange(
            self.descriptor, self.start + offset, max(0, min(size, self.size - offset))
        )

    def read(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes at an offset; fewer at the end, and none beyond it."""
        wanted = max(0, min(size, self.size - offset))
        if not wanted:
            return b""  # the offset may be too large for the kernel
        return os.pread(self.descriptor, wanted, self.start + offset)

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes, in chunks of up to 1 MiB.

        :raises ImageError: The file is shorter than it was.
        """
        offset = 0
        while offset < self.size:
            check_stopped()
            chunk = self.read(offset, CHUNK)
            if not chunk:
                raise ImageError("a file became shorter while it was read")
            offset += len(chunk)
            yield chunk
