"""Tests of the images that microvm renews by itself after an update."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.image.layers import file, hard, tar
from tests.image.test_pip_build import PYTHON, Installer
from tests.support.wheels import use_index, wheel

from microvm import arches
from microvm.errors import ImageError
from microvm.images import MANIFEST, Image, load, readymade, tags
from microvm.images.readymade import ReadyMade
from microvm.progress import NoticeReporter, NullReporter
from microvm_image.build import build
from microvm_image.pip import image as packaged
from microvm_image.recipe import Recipe

pytestmark = pytest.mark.usefixtures("parts")

RENEWED = "image ready: renewed, because microvm has changed"

Find = Callable[..., tuple[Image, list[str]]]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make `ready` a ready-made image, and return the archive that it is built from.

    The archive has a hard link, so the image has a disk.
    """
    path = tmp_path / "python.tar"
    path.write_bytes(tar(*PYTHON, file("one", b"1"), hard("two", "one")))
    made = ReadyMade((str(path),), (), ("python3",), ("true",))
    monkeypatch.setitem(readymade.IMAGES, "ready", made)
    return path


def find(*packages: str) -> tuple[Image, list[str]]:
    """Return the image `ready`, with packages if there are any, and the notices about it."""
    said: list[str] = []
    return packaged.find("ready", packages, NoticeReporter(said.append)), said


def update(guest: Path) -> None:
    """Change the guest's programs and the digest of their protocol, as updates of microvm do."""
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    header = guest / "protocol.h"
    header.write_text(header.read_text().replace("cdefULL", "cde1ULL"))


def test_ready_made_image_is_renewed_without_its_source(source: Path, guest: Path) -> None:
    old, _ = find()
    source.unlink()
    assert find() == (old, [])
    update(guest)
    assert readymade.needs_build("ready")
    new, said = find()
    assert said == [RENEWED]
    assert not readymade.needs_build("ready")
    assert find() == (new, [])
    assert new == load("ready") != old
    assert new.manifest.schema == "0123456789abcde1"
    for name in ("source", "config", "warm", "history", "disk_sha256"):
        assert getattr(new.manifest, name) == getattr(old.manifest, name)
    assert old.disk is not None
    assert new.disk is not None
    assert old.disk.samefile(new.disk)
    assert load(old.name) == old  # which a snapshot may need
    assert not tags.of(old.name)


@pytest.mark.thorough
def test_ready_made_image_of_each_architecture(source: Path, guest: Path) -> None:
    here, _ = find()
    other = next(name for name in arches.ARCHES if name != here.manifest.arch)
    assert readymade.needs_build("ready", other)
    built = readymade.find("ready", NullReporter(), other)
    assert built.manifest.arch == other
    assert not readymade.needs_build("ready", other)
    assert (load("ready"), load("ready", other)) == (here, built)
    update(guest)
    renewed = readymade.find("ready", NullReporter(), other)
    assert (renewed.manifest.arch, load("ready", other)) == (other, renewed)
    assert renewed != built
    assert load("ready") == here


@pytest.mark.thorough
def test_image_with_packages_is_renewed_without_its_index(
    source: Path, guest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    wheel(index, "one")
    use_index(monkeypatch, index)
    installer = Installer()
    monkeypatch.setattr(packaged, "StepRunner", lambda **_: installer)
    old, _ = find("one")
    (tag,) = tags.of(old.name)
    source.unlink()
    (index / "one-1-py3-none-any.whl").unlink()
    update(guest)
    new, said = find("one")
    assert said == [RENEWED, RENEWED.replace("ready", tag)]
    assert new == load(tag) != old
    assert new.manifest.history == old.manifest.history
    assert len(installer.found) == 1


def test_same_programs_of_other_sources_need_no_new_image(source: Path, guest: Path) -> None:
    old, _ = find()
    (guest / "main.c").write_text("int main(void) { return 0; } /* the same */\n")
    assert readymade.needs_build("ready")
    assert find() == (old, [])
    assert not readymade.needs_build("ready")


def test_image_of_another_format_is_built_from_its_source(source: Path, guest: Path) -> None:
    old, _ = find()
    update(guest)
    manifest = old.path / MANIFEST
    manifest.write_text(manifest.read_text().replace('"format": ', '"format": 1'))
    new, said = find()
    assert [line.partition("@")[0] for line in said] == [f"image ready: from {source.name}"]
    assert new.manifest.schema == "0123456789abcde1"


def test_image_of_a_user_is_not_renewed(source: Path, guest: Path) -> None:
    own = build(Recipe(source=str(source)), tag="ready")
    update(guest)
    assert find() == (own, [])
    manifest = own.path / MANIFEST
    manifest.write_text(manifest.read_text().replace('"format": ', '"format": 1'))
    with pytest.raises(ImageError, match="another version of microvm"):
        find()
