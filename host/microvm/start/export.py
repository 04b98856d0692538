"""Exported snapshots: each is one file, from which another host can import the snapshot.

The file has the members `state`, `ram` and, if the machine has a scratch disk, `scratch`, in this
order. The host that imports it already has the manifest, and checks the members against the digests
in the manifest.
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
    """Write the snapshot that has this manifest to a file.

    :raises SnapshotError: If the snapshot was removed, is damaged, or was replaced.
    :raises OSError: If the file cannot be written.
    """
    with ExitStack() as files:
        opened = STORE.open(manifest.name, files)
        if opened.manifest != manifest:
            raise SnapshotError(f"snapshot {manifest.name} was replaced while it was exported")
        with export_archive.writing(out) as archive:
            archive.add(saved.STATE, len(opened.state), [opened.state])
            archive.add(saved.RAM, os.fstat(opened.ram).st_size, sparse.read(opened.ram))
            if opened.disk is not None:
                archive.add(saved.SCRATCH, os.fstat(opened.disk).st_size, sparse.read(opened.disk))


def read(file: BinaryIO, manifest: SavedManifest) -> None:
    """Import the exported snapshot in `file`, and check it by the digests in its `manifest`.

    :raises SnapshotError: If the file does not match the manifest or is incomplete, or if the cache
        is shared with all users.
    :raises CacheError: If the disk is full. Incomplete files are removed.
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
                raise export_archive.DamagedError("its state has changed since it was saved")
            (folder / saved.STATE).write_bytes(state)
            _copy(archive, folder / saved.RAM, manifest.origin.memory << 20, manifest.ram_sha256)
            if digest := manifest.scratch_sha256:
                _copy(archive, folder / saved.SCRATCH, manifest.origin.scratch, digest)
            archive.end()
            saved.complete(folder, manifest)
    except (export_archive.DamagedError, export_archive.ForeignError) as error:
        raise SnapshotError(f"{manifest.name}: damaged snapshot: {error}") from error


def _copy(archive: export_archive.ExportReader, path: Path, size: int, sha256: str) -> None:
    with archive.member(path.name, size) as (found, chunks), path.open("w+b") as part:
        sparse.write(part.fileno(), chunks)
        if found != size or sparse.digest(part.fileno()) != sha256:
            raise export_archive.DamagedError(f"its {path.name} has changed since it was saved")
