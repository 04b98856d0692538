"""Tests of the removal of images, also by several processes at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.image.conftest import Leftovers
from tests.support.processes import environment

import microvm_image
from microvm.arches import native
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.images import Image, export, load, tags
from microvm_image.build import build
from microvm_image.image_removal import Removed, prune, remove

WORKER = """
import sys
from microvm.errors import ImageError
from microvm.images import export, tags
from microvm.images import load
from microvm_image.image_removal import prune, remove

role, archive, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(rounds):
    if role == "prune":
        prune(everything=True)
        continue
    with open(archive, "rb") as file:
        export.read(file, archive, tag=role, limit=1 << 30)
    image = load(role)  # a tag keeps its image, although other processes prune
    tags.assign(f"{role}:second", image.name)
    try:
        remove(image.name)
    except ImageError as error:
        assert "has several tags" in str(error), error
    assert remove(role).image == ""
    assert load(f"{role}:second") == image
    assert remove(f"{role}:second").tags == (f"{role}:second",)
"""


@pytest.fixture
def image(archive: Path, kernel: Path) -> Image:
    """Return an image that is not the default."""
    return build(rootfs=archive, kernel=kernel)


def test_image_is_removed_with_its_last_tag(image: Image) -> None:
    for tag in ("a", "b"):
        tags.assign(tag, image.name)
    assert remove("a") == Removed(("a:latest",), "")
    assert load("b") == image
    assert remove("b:latest") == Removed(("b:latest",), image.name)
    assert not image.path.exists()
    with pytest.raises(ImageError, match="no image b:latest"):
        remove("b:latest")


@pytest.mark.parametrize("by", ["name", "digest"])
def test_image_with_several_tags_needs_force(image: Image, by: str) -> None:
    text = str(getattr(image, by))
    for tag in ("a", "b"):
        tags.assign(tag, image.name)
    with pytest.raises(ImageError, match=r"has several tags: a:latest, b:latest \(.*--force"):
        remove(text)
    assert load("a") == load("b") == image
    assert remove(text, force=True) == Removed(("a:latest", "b:latest"), image.name)
    assert tags.all_tags() == {}


def test_image_with_at_most_one_tag_is_removed_by_name(image: Image) -> None:
    tags.assign("a", image.name)
    assert remove(image.name) == Removed(("a:latest",), image.name)
    assert build(kernel=image.path.parents[2] / "vmlinuz").name == image.name
    assert remove(image.digest[:8]) == Removed((), image.name)


def test_needed_image_is_removed_only_by_force(image: Image) -> None:
    def needs() -> dict[str, list[str]]:
        return {image.name: ["snapshot one", "snapshot two"]}

    for tag in ("a", "b"):
        tags.assign(tag, image.name)
    assert remove("a", needs=needs) == Removed(("a:latest",), "")
    with pytest.raises(ImageError, match=r"needed by snapshot one, snapshot two \(.*--force"):
        remove("b", needs=needs)
    tags.clear("b:latest")
    assert prune(everything=True, needs=needs) == []
    assert load(image.name) == image
    assert remove(image.name, force=True, needs=needs) == Removed((), image.name)


def test_damaged_image_can_be_removed_by_its_name(image: Image) -> None:
    tags.assign("a", image.name)
    image.kernel.chmod(0o644)
    image.kernel.write_bytes(b"")
    with pytest.raises(ImageError, match=rf"damaged image.*`microvm image rm {image.name}` remove"):
        load("a")
    assert remove("a").image == image.name


def test_tag_of_a_missing_image_can_be_removed(image: Image) -> None:
    tags.assign("a", image.name)
    image.path.rename(image.path.parent / ".gone")
    assert remove("a") == Removed(("a:latest",), "")


def test_prune_removes_unnamed_images_and_keeps_the_default(
    archive: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROVM_ROOTFS", str(archive))
    monkeypatch.setenv("MICROVM_KERNEL", str(kernel))
    default = microvm_image.default()
    others = []
    for number in range(3):
        other = kernel.with_name(f"vmlinuz-{number}")
        other.write_bytes(kernel.read_bytes() + bytes([number]))
        others.append(build(kernel=other))
    tagged, untagged, busy = others
    tags.assign("tagged", tagged.name)
    with lock.attempt(busy.path):  # as a build does
        assert [removed.image for removed in prune()] == [untagged.name]
    assert [removed.image for removed in prune()] == [busy.name]
    assert microvm_image.default() == default
    assert [removed.image for removed in prune(everything=True)] == [default.name]
    assert prune(everything=True) == []
    assert load("tagged") == tagged


def test_prune_removes_unusable_images_and_their_tags(
    image: Image, cache: Path, leftovers: Leftovers
) -> None:
    old = image.path.parent / "old-0123456789ab"
    old.mkdir()
    (old / "manifest.json").write_text('{"format": 1}')
    tags.assign("old", old.name)
    tags.assign("damaged", image.name)
    image.initramfs.unlink()
    (cache / "tags" / f"gone:latest@{native()}").write_text("nothing-0123456789ab")
    (image.path.parent / ".half.tmp").mkdir()
    (image.path.parent / ".half.lock").touch()
    assert sorted(prune(), key=lambda removed: removed.image) == [
        Removed(("gone:latest",), ""),
        Removed(("damaged:latest",), image.name),
        Removed(("old:latest",), old.name),
    ]
    assert tags.all_tags() == {}
    assert not leftovers()


def test_prune_works_in_a_folder_that_all_users_share(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is directly in such a folder, like /tmp."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "cache" / "images").mkdir(parents=True, mode=0o755)
    (shared / "cache" / ".left.tmp").mkdir()
    monkeypatch.setenv("MICROVM_CACHE", str(shared / "cache"))
    assert prune() == []
    assert [path.name for path in (shared / "cache").iterdir()] == ["images"]


@pytest.mark.thorough
def test_processes_that_import_tag_remove_and_prune_at_once(
    image: Image, tmp_path: Path, cache: Path, leftovers: Leftovers
) -> None:
    archive = tmp_path / "image.tar.zst"
    with archive.open("wb") as out:
        export.write(image, out)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, role, archive, "10"],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for role in ("one", "two", "three", "prune")
    ]
    for worker in workers:
        _, said = worker.communicate()
        assert (said, worker.returncode) == ("", 0)
    assert tags.all_tags() == {}
    prune(everything=True)
    assert not list((cache / "images").iterdir())
    assert not leftovers()
