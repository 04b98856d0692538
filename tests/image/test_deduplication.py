"""Tests that equal files of several images are one file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.image import layers

import microvm_image
from microvm.errors import ImageError
from microvm.images import Image, load
from microvm.images.deduplication import usage
from microvm_image.build import build
from microvm_image.recipe import Recipe


@pytest.fixture
def images(archive: Path, kernel: Path, guest: Path) -> tuple[Image, Image]:
    """Return two images that differ in their daemons."""
    first = build(rootfs=archive, kernel=kernel)
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    return first, build(rootfs=archive, kernel=kernel)


def test_equal_kernels_are_one_file(images: tuple[Image, Image]) -> None:
    first, second = images
    assert first.name != second.name
    assert first.kernel.samefile(second.kernel)
    assert not first.initramfs.samefile(second.initramfs)
    assert usage(first.path).shared == usage(second.path).shared >= 64 << 10
    assert usage(first.path).size > usage(first.path).shared
    microvm_image.remove(first.name)
    assert load(second.name) == second
    assert usage(second.path).shared == 0


def test_a_damaged_file_is_not_shared(images: tuple[Image, Image], guest: Path) -> None:
    first, second = images
    data = bytearray(first.kernel.read_bytes())
    data[-1] ^= 1
    first.kernel.chmod(0o644)
    first.kernel.write_bytes(data)
    for image in images:  # both share the kernel
        with pytest.raises(ImageError, match="damaged image"):
            load(image.name)
    again = build(kernel=guest.parent / "vmlinuz")
    assert again.name == second.name
    assert not again.kernel.samefile(first.kernel)


def test_image_outside_the_cache_shares_no_files(
    archive: Path, kernel: Path, tmp_path: Path
) -> None:
    first = build(rootfs=archive, kernel=kernel)
    elsewhere = build(rootfs=archive, kernel=kernel, output=tmp_path / "out")
    assert not first.kernel.samefile(elsewhere.kernel)


def test_files_are_copied_if_they_cannot_be_linked(
    archive: Path, kernel: Path, guest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    first = build(rootfs=archive, kernel=kernel)
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    second = build(rootfs=archive, kernel=kernel)
    assert not first.kernel.samefile(second.kernel)
    assert load(second.name) == second


def test_images_with_other_defaults_share_a_disk(tmp_path: Path, kernel: Path) -> None:
    base = tmp_path / "base.tar"
    base.write_bytes(
        layers.tar(layers.file("bin/x", b"1"), layers.LayerMember("dev/x", kind="char"))
    )
    first, second = (
        build(Recipe(source=str(base), env=env), kernel=kernel) for env in ((), ("A=1",))
    )
    assert first.name != second.name
    assert first.disk
    assert second.disk
    assert first.disk.samefile(second.disk)
    assert first.initramfs.samefile(second.initramfs)
