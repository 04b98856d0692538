"""The members of a tar, read by Python's own library."""

from __future__ import annotations

import io
import tarfile

Members = dict[str, tuple[tarfile.TarInfo, bytes]]
"""By their names: what the header says of each, and the data of a file."""


def members(data: bytes) -> Members:
    """Return what is in a tar; it ends where the data end."""
    found = {}
    with tarfile.open(
        fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            found[info.name] = (info, file.read() if file else b"")
        assert archive.offset + 2 * tarfile.BLOCKSIZE == len(data)
    return found
