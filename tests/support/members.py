"""The members of a tar archive, as the standard library reads them."""

from __future__ import annotations

import io
import tarfile

Members = dict[str, tuple[tarfile.TarInfo, bytes]]
"""The header of each member and the data of a file, by name."""


def members(data: bytes) -> Members:
    """Return the members of a tar archive. The archive must end with the data."""
    found = {}
    with tarfile.open(
        fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for info in archive:
            file = archive.extractfile(info) if info.isreg() else None
            found[info.name] = (info, file.read() if file else b"")
        assert archive.offset + 2 * tarfile.BLOCKSIZE == len(data)
    return found
