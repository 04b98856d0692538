"""Tests of the names of images and snapshots on the command line: their beginnings, and typos."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from microvm.arches import native
from microvm.cli import names
from microvm.cli.root import cli
from microvm.errors import ImageError, SnapshotError
from microvm.images import find
from microvm.start.snapshots import STORE

IMAGES = {
    "alpine-3.20.3-x86_64-0123456789ab": [],
    "debian-trixie-x86_64-aaaa56789abc": ["app:latest", "app:1", "web:1.10"],
    "debian-trixie-x86_64-bbbb56789abc": ["applet:latest"],
}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache with images and snapshots that are only names."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    for folder in ("tags", "images", "snapshots"):
        (tmp_path / folder).mkdir()
    for image, tags in IMAGES.items():
        (tmp_path / "images" / image).mkdir()
        for tag in tags:
            (tmp_path / "tags" / f"{tag}@{native()}").write_text(image)
    for snapshot in ("ready", "ready-2", "warm"):
        (tmp_path / "snapshots" / snapshot).mkdir()


@pytest.mark.parametrize(
    ("typed", "image"),
    [
        ("alp", "alpine-3.20.3-x86_64-0123456789ab"),
        ("0123", "alpine-3.20.3-x86_64-0123456789ab"),
        ("app", "debian-trixie-x86_64-aaaa56789abc"),
        ("app:1", "debian-trixie-x86_64-aaaa56789abc"),
        ("we", "debian-trixie-x86_64-aaaa56789abc"),
        ("appl", "debian-trixie-x86_64-bbbb56789abc"),
        ("debian-trixie-x86_64-b", "debian-trixie-x86_64-bbbb56789abc"),
    ],
)
def test_the_beginning_of_one_image_is_that_image(typed: str, image: str) -> None:
    assert find(names.expand_image(typed)) == image


def test_the_beginning_of_several_images_lists_them() -> None:
    with pytest.raises(ImageError, match=r"names of several images begin with deb: debian-.*aaaa"):
        names.expand_image("deb")


@pytest.mark.parametrize("typed", ["web:1.1", "web:1", "x", ""])
def test_no_other_version_stands_in_for_one(typed: str) -> None:
    with pytest.raises(ImageError, match=r"^no(t the name of an)? image"):
        names.expand_image(typed)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("appelt", "applet or app"),
        ("pyhton", "python"),
        ("web:1.1", "web:1.10"),
        ("alp", "alpine or alpine-3.20.3-"),
    ],
)
def test_mistyped_image_has_a_suggestion(typed: str, meant: str) -> None:
    with pytest.raises(ImageError) as caught:
        names.check_image(typed)
    assert f"did you mean {meant}" in caught.value.hint


def test_a_beginning_is_not_enough_to_remove() -> None:
    for verb, typed in (("image", "we"), ("snapshot", "war")):
        result = CliRunner().invoke(cli, [verb, "rm", typed])
        assert isinstance(result.exception, ImageError | SnapshotError)
        assert "did you mean" in result.exception.hint
    assert STORE.names() == ["ready", "ready-2", "warm"]


def test_the_beginning_of_one_snapshot_is_that_snapshot() -> None:
    assert names.expand_snapshot("w") == "warm"
    assert names.expand_snapshot("ready") == "ready"
    assert names.expand_snapshot("other") == "other"
    with pytest.raises(SnapshotError, match="names of several snapshots begin with re: ready, re"):
        names.expand_snapshot("re")


def test_alpine_is_the_default_image_and_never_busybox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MICROVM_ROOTFS", raising=False)
    monkeypatch.setenv("MICROVM_MIRROR", "http://127.0.0.1:1")
    assert names.expand_image("alpine") == "alpine"
    for default in ("busybox-1.37-x86_64-0123456789ab", ""):
        monkeypatch.setattr(names, "noted", lambda _, default=default: default)
        with pytest.raises(ImageError, match="no image alpine"):
            names.existing_image("alpine")
    with pytest.raises(ImageError, match=r"no image alpine: .*set MICROVM_ROOTFS to the path of"):
        names.find_image("alpine")
    monkeypatch.setattr(names, "noted", lambda _: "alpine-3-x86_64-0123456789ab")
    assert names.existing_image("alpine") == "alpine-3-x86_64-0123456789ab"
