"""Tests of the tags of images."""

from __future__ import annotations

from pathlib import Path

import pytest

import microvm_image
from microvm import arches
from microvm import cache as caches
from microvm.arches import native
from microvm.errors import ImageError
from microvm.images import Image, find, load, tags
from microvm_image.build import build
from microvm_image.image_removal import remove
from microvm_image.recipe import Recipe


@pytest.fixture
def images(archive: Path, kernel: Path) -> tuple[Image, Image]:
    """Return two images that differ in their kernels."""
    first = build(rootfs=archive, kernel=kernel)
    kernel.write_bytes(kernel.read_bytes() + b"more")
    return first, build(rootfs=archive, kernel=kernel)


def test_a_name_without_a_version_is_the_latest(images: tuple[Image, Image]) -> None:
    assert tags.assign("python", images[0].name) == "python:latest"
    assert load("python") == load("python:latest") == images[0]
    tags.assign("python:latest", images[1].name)
    assert load("python") == images[1]
    tags.assign("python:3.13", images[0].name)
    assert load("python:3.13") == images[0]
    assert tags.all_tags() == {"python:3.13": images[0].name, "python:latest": images[1].name}
    assert tags.of(images[1].name) == ["python:latest"]


OTHER = next(name for name in arches.ARCHES if name != arches.find().name)


@pytest.mark.thorough
def test_images_of_two_architectures_have_the_same_tag(kernel: Path) -> None:
    def built(arch: str, tag: str) -> Image:
        return build(Recipe(source="scratch"), arch=arch, kernel=kernel, tag=tag)

    other = built(OTHER, "base")
    assert tags.all_tags() == {f"base:latest@{OTHER}": other.name}
    assert load("base") == load("base", OTHER) == load(f"base@{OTHER}") == other
    with pytest.raises(ImageError):
        load(f"base@{arches.find().name}")
    here = built(arches.find().name, "base")
    assert load("base") == load("base", arches.find().name) == here
    assert load("base", OTHER) == load(other.path, OTHER) == other
    with pytest.raises(
        ImageError, match=f"for {OTHER} cannot have the tag one@{here.manifest.arch}"
    ):
        tags.assign(f"one@{here.manifest.arch}", other.name)
    remove(f"base@{OTHER}")
    for image in (here, "base", here.path):
        with pytest.raises(ImageError, match=f"is for {here.manifest.arch}, not for {OTHER}") as it:
            load(image, OTHER)
        assert f"`microvm image build --arch {OTHER}`" in str(it.value.hint)
    assert tags.all_tags() == {"base:latest": here.name}


def test_other_files_are_no_tags(images: tuple[Image, Image], cache: Path) -> None:
    tags.assign("python", images[0].name)
    for name in ("python:2@riscv64", "python:1@x86_64~"):
        (cache / "tags" / name).write_text(images[0].name)
    assert tags.all_tags() == {"python:latest": images[0].name}


@pytest.mark.thorough
def test_rm_finds_the_tag_of_another_architecture(kernel: Path) -> None:
    built = build(Recipe(source="scratch"), arch=OTHER, kernel=kernel, tag="one")
    tags.assign("two", built.name)
    assert remove("one").tags == (f"one:latest@{OTHER}",)
    assert tags.of(built.name) == [f"two:latest@{OTHER}"]


def test_unique_beginning_of_a_digest_is_enough(images: tuple[Image, Image]) -> None:
    first, second = images
    for length in (6, 11, 12):
        assert load(first.digest[:length]) == first
    assert load(first.name) == first
    twin = f"{second.name[:-12]}{first.digest[:6]}012345"
    second.path.rename(second.path.parent / twin)
    with pytest.raises(
        ImageError, match=f"{first.digest[:6]} begins the digests of several.*{twin}"
    ):
        find(first.digest[:6])
    for wrong in (first.digest[:3], f"{first.digest}0", first.digest[1:]):
        with pytest.raises(ImageError, match="no image"):
            find(wrong)


def test_a_name_precedes_a_tag_and_a_tag_precedes_a_digest(images: tuple[Image, Image]) -> None:
    first, second = images
    tags.assign(second.name, first.name)
    assert load(second.name) == second
    tags.assign(second.digest, first.name)
    assert load(second.digest) == first


@pytest.mark.thorough
@pytest.mark.parametrize(
    "text",
    ["", ":", "a:", ":b", "a:b:c", ".a", "a/b", "../a", "a b", "a\n", "a\0", "ä", "-a", "a" * 101],
)
def test_invalid_tags_are_refused(text: str, images: tuple[Image, Image], cache: Path) -> None:
    with pytest.raises(ImageError, match="cannot be a tag"):
        tags.assign(text, images[0].name)
    assert not list(cache.glob("tags/*"))


def test_only_existing_images_get_tags(cache: Path) -> None:
    with pytest.raises(ImageError, match="no image nothing"):
        tags.assign("python", "nothing")
    assert not list(cache.glob("tags/*"))


def test_tag_of_a_missing_image_is_an_error(images: tuple[Image, Image]) -> None:
    tags.assign("python", images[0].name)
    caches.clear(images[0].path)
    with pytest.raises(ImageError, match=r"python means the image .*no longer"):
        load("python")


@pytest.mark.thorough
@pytest.mark.parametrize("content", [b"", b"\xff", b"../../etc", b"x" * 2000, b".hidden"])
def test_damaged_tag_is_a_missing_image(
    content: bytes, images: tuple[Image, Image], cache: Path
) -> None:
    tags.assign("python", images[0].name)
    (cache / "tags" / f"python:latest@{native()}").write_bytes(content)
    with pytest.raises(ImageError):
        load("python")
    tags.assign("python", images[0].name)
    assert load("python") == images[0]


def test_moving_tag_is_read_again(
    images: tuple[Image, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    tags.assign("python", images[0].name)
    read = tags.image_of
    moved: list[str] = []

    def moves(tag: str) -> str | None:
        found = read(tag)
        if not moved:
            moved.append(tag)
            tags.assign(tag, images[1].name)
            microvm_image.remove(images[0].name)
        return found

    monkeypatch.setattr(tags, "image_of", moves)
    assert load("python") == images[1]
