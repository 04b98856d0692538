"""A range of bytes in an open file, such as an archive that is stored in another archive."""

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
    """A range of bytes in an open file. The owner of the file keeps it open."""

    descriptor: int
    start: int
    size: int

    @classmethod
    def of(cls, path: Path, files: ExitStack) -> FileRange:
        """Open a file until `files` closes it, and return a range with all bytes of the file.

        :raises OSError: The file cannot be opened, or is no regular file.
        """
        descriptor = cache.open_plain(path)
        files.callback(os.close, descriptor)
        return cls(descriptor, 0, os.fstat(descriptor).st_size)

    def part(self, offset: int, size: int) -> FileRange:
        """Return a range within this range. If it would extend beyond the end, it is shorter."""
        return FileRange(
            self.descriptor, self.start + offset, max(0, min(size, self.size - offset))
        )

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes at an offset. At the end of the range, return fewer or none."""
        wanted = max(0, min(size, self.size - offset))
        if not wanted:
            return b""  # do not call pread, which raises an error for an offset that is too large
        return os.pread(self.descriptor, wanted, self.start + offset)

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes of the range, in chunks of up to 1 MiB.

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
