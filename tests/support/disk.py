"""An image whose root is a disk, built from the root of a small image and additional files."""

from __future__ import annotations

import hashlib
import io
import stat
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from microvm import arches
from microvm.images import DISK, INITRAMFS, KERNEL, MANIFEST, Image, load
from microvm.progress import NullReporter
from microvm_image import disk, initramfs, programs, rootfs
from microvm_image.file_range import FileRange
from microvm_image.kernel import selection
from microvm_image.layer import TarLayer
from microvm_image.tree import RootfsTree

KINDS = {
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFREG: tarfile.REGTYPE,
}


def disk_image(
    like: Image,
    folder: Path,
    *,
    without: Iterable[str] = (),
    more: Iterable[tuple[tarfile.TarInfo, bytes]] = (),
    add: Mapping[str, Path] | None = None,
    built_for: str | Path | None = None,
    compression: str = "",
) -> Image:
    """Build an image in a folder.

    :param like: image whose root file system and manifest are copied.
    :param without: folders to remove from the root.
    :param more: members to add.
    :param add: files of the host to add, by their paths in the root.
    :param built_for: kernel, as `selection.find` accepts it; by default the default kernel.
    :param compression: algorithm, as `mkfs.erofs` names it; images of the product are uncompressed.
    """
    target = arches.find(like.manifest.arch)
    report = NullReporter()
    name = hashlib.sha256(str(folder).encode()).hexdigest()
    chosen = selection.find(target, built_for, report)
    folder.mkdir()
    with (folder / INITRAMFS).open("wb") as file:
        initramfs.write([], programs.build(target, report).files, chosen.modules, file)
    (folder / KERNEL).write_bytes(chosen.data)
    with RootfsTree() as tree:
        packed = folder.with_suffix(".tar")
        _pack(target, packed, frozenset(without), more, add or {})
        tree.add(TarLayer("the root", partial(FileRange.of, packed)))
        if compression:
            command = ["mkfs.erofs", "--quiet", "--tar=f", f"-z{compression}"]
            subprocess.run([*command, str(folder / DISK), str(packed)], check=True)
        else:
            disk.write(tree, folder / DISK, name)
    manifest = like.manifest._replace(name=f"disk-{name[:12]}", bus=chosen.bus)
    for part, path in (("kernel", KERNEL), ("initramfs", INITRAMFS), ("disk", DISK)):
        with (folder / path).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
        manifest = manifest._replace(**{f"{part}_size": size, f"{part}_sha256": digest})  # type: ignore[arg-type]
    (folder / MANIFEST).write_text(manifest.json())
    return load(folder)


def _pack(
    target: arches.Arch,
    path: Path,
    without: frozenset[str],
    more: Iterable[tuple[tarfile.TarInfo, bytes]],
    add: Mapping[str, Path],
) -> None:
    base = rootfs.find(target, None, None, NullReporter())
    with tarfile.open(path, mode="w") as archive, base.tree() as tree:
        for entry in tree.entries():
            if entry.name.partition("/")[0] in without:
                continue
            info = tarfile.TarInfo(entry.name)
            info.type = KINDS[stat.S_IFMT(entry.mode)]
            info.mode, info.uid, info.gid = stat.S_IMODE(entry.mode), entry.uid, entry.gid
            if info.issym():
                info.linkname = entry.data.decode()
            info.size = len(entry.data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(entry.data))
        for info, data in more:
            archive.addfile(info, io.BytesIO(data))
        for name, file in add.items():
            archive.add(file, name)
