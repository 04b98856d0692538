"""An exported snapshot: one file, of which another host makes its own copy.

It has these members, in this order: `state`, `ram`, and `scratch` where there is one. It is read by
those who have its manifest already, and know by its digests what they get.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from microvm import cache, export_archive
from microvm.cache import lock
from microvm.errors import SnapshotError
from microvm.progress import NullReporter
from microvm.start import saved, sparse
from microvm.start.saved import SavedManifest
from microvm.start.snapshots import STORE


def write(manifest: SavedManifest, out: BinaryIO) -> None:
    """Write the snapshot that has this manifest.

    :raises SnapshotError: it is gone, damaged, or another one meanwhile.
    :raises OSError: it cannot be written.
    """
    with ExitStack() as files:
        opened = STORE.open(manifest.name, files)
        if opened.manifest != manifest:
            raise SnapshotError(f"snapshot {manifest.name} has been taken anew meanwhile")
        with export_archive.writing(out) as archive:
            archive.add(saved.STATE, len(opened.state), [opened.state])
            archive.add(saved.RAM, os.fstat(opened.ram).st_size, sparse.read(opened.ram))
            if opened.disk is not None:
                archive.add(saved.SCRATCH, os.fstat(opened.disk).st_size, sparse.read(opened.disk))


def read(file: BinaryIO, manifest: SavedManifest) -> None:
    """Import a snapshot.

    :param manifest: the manifest that the snapshot must match, and its new name.
    :raises SnapshotError: it does not match, is damaged or incomplete; or the cache is shared.
    :raises ImageError: the disk is full. Incomplete files are removed.
    """
    STORE.check_private()
    path = STORE.path(manifest.name)
    try:
        with (
            cache.disk_errors(),
            lock.held(path, NullReporter()),
            cache.staging(path) as folder,
            export_archive.reading(file) as archive,
        ):
            folder.mkdir()
            state = archive.whole(saved.STATE, saved.STATE_LIMIT)
            if hashlib.sha256(state).hexdigest() != manifest.state_sha256:
                raise export_archive.DamagedError("its state is not what was saved")
            (folder / saved.STATE).write_bytes(state)
            made = manifest.origin
            _copy(archive, folder / saved.RAM, made.memory << 20, manifest.ram_sha256)
            if manifest.scratch_sha256:
                _copy(archive, folder / saved.SCRATCH, made.scratch, manifest.scratch_sha256)
            archive.end()
            saved.complete(folder, manifest)
    except (export_archive.DamagedError, export_archive.ForeignError) as error:
        raise SnapshotError(f"{manifest.name}: damaged snapshot: {error}") from error


def _copy(archive: export_archive.ExportReader, path: Path, size: int, sha256: str) -> None:
    with archive.member(path.name, size) as (found, chunks), path.open("w+b") as part:
        sparse.write(part.fileno(), chunks)
        if found != size or sparse.digest(part.fileno()) != sha256:
            raise export_archive.DamagedError(f"its {path.name} is not what was saved")
