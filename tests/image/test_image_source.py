"""Tests of images as sources: files are read back from a disk and from an initramfs."""

from __future__ import annotations

import io
import os
import random
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.image.layers import LayerMember, file, folder, hard, layer, link, tar

from microvm import arches
from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm_image import disk
from microvm_image.build import build
from microvm_image.compression import spooled
from microvm_image.erofs import ErofsLayer
from microvm_image.file_range import FileRange
from microvm_image.layer import Layer
from microvm_image.recipe import Recipe
from microvm_image.sources.find import find
from microvm_image.tree import RootfsTree

CAPABILITY = (b"\1\0\0\2\xff\4" + bytes(14)).decode("utf-8", "surrogateescape")
NAME = os.fsdecode(b"caf\xe9")
DEVICE = (("devmajor", 259), ("devminor", 70_000), ("mode", 0o660))


def parts() -> list[LayerMember]:
    xattrs = {"SCHILY.xattr.security.capability": CAPABILITY, "SCHILY.xattr.user.x": "y" * 300}
    facts = {"mode": 0o4755, "uid": 100_000, "gid": 70_000, "mtime": 1 << 33, "pax_headers": xattrs}
    shared = {"SCHILY.xattr.user.shared": "z" * 40}
    sizes = (0, 1, 4095, 4096, 4097, 8192, 70_000)
    return [
        folder(".", mode=0o711, uid=7),
        *(file(f"size-{size}", random.Random(size).randbytes(size)) for size in sizes),
        *(file(f"shared-{n}", b"s", pax_headers=shared) for n in range(5)),
        file(NAME, b"x" * 5000, **facts),
        hard("d/again", NAME),
        LayerMember("sda", kind="block", attributes=DEVICE),
        LayerMember("tty", kind="char", attributes=(("devmajor", 5), ("devminor", 1))),
        LayerMember("pipe", kind="fifo"),
        link("long", "t" * 4000),
        link("short", NAME),
        folder("empty", mode=0o1777),
        *(file(f"many/{n:0200}", b"%d" % n) for n in range(200)),
    ]


def archive(one: Layer) -> bytes:
    out = io.BytesIO()
    with RootfsTree() as tree:
        tree.add(one)
        tree.write_tar(out.write)
    return out.getvalue()


def test_disk_is_read_back_as_the_same_tree(tmp_path: Path) -> None:
    data = tar(*parts())
    path = tmp_path / "disk"
    with RootfsTree() as tree:
        tree.add(layer(data))
        disk.write(tree, path, "0" * 64)
    assert archive(ErofsLayer("disk", lambda files: FileRange.of(path, files))) == archive(
        layer(data)
    )


def test_a_damaged_disk_ends_in_an_error_or_a_tree(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with RootfsTree() as tree:
        tree.add(layer(tar(folder("d"), file("d/a", b"x"), link("l", "d"), file("b", bytes(5000)))))
        disk.write(tree, path, "0" * 64)
    whole = path.read_bytes()
    chance = random.Random(1)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.choice([chance.randrange(1024, 1152), chance.randrange(1152, 4096)])] = (
                chance.randrange(256)
            )

        def opened(files: ExitStack, data: bytes = bytes(data)) -> FileRange:
            return spooled(iter([data]), files)

        try:
            archive(ErofsLayer("disk", opened))
        except ImageError:
            continue


@pytest.mark.parametrize("is_small", [True, False])
def test_image_is_built_from_an_image(tmp_path: Path, kernel: Path, *, is_small: bool) -> None:
    path = tmp_path / "rootfs.tar"
    members = [folder("bin", mode=0o711), file("bin/sh", b"#!", uid=5), link("l", "bin/sh")]
    path.write_bytes(tar(*members, *([] if is_small else [LayerMember("sda", kind="block")])))
    recipe = Recipe(source=str(path), workdir="/bin", cmd=("sh",))
    first = build(recipe, kernel=kernel)
    assert (first.disk is None) == is_small
    for text in (first.name, str(first.path), first.digest):
        with find(text, arches.find(), report=NullReporter()) as source, source.tree() as tree:
            assert source.name == first.name
            assert source.config.workdir == "/bin"
            assert source.pinned == f"{first.name}@sha256:{source.digest}"
            nodes = dict(tree.walk())
            assert nodes["l"].target == "bin/sh"
            assert (nodes["bin/sh"].uid, nodes["bin"].mode & 0o777) == (5, 0o711)
            assert not {"init", "sandboxd"} & set(nodes)
    second = build(Recipe(source=str(first.path)), kernel=kernel)
    assert second.name == f"rootfs.tar-{first.manifest.arch}-{second.digest}"
    assert second.manifest.config.workdir == "/bin"
    other = next(name for name in arches.ARCHES if name != arches.find().name)
    with pytest.raises(ImageError, match="--arch"):  # noqa: SIM117
        with find(first.name, arches.find(other), report=NullReporter()):
            pass
