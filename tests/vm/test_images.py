"""Tests of images that are tagged, exported, and imported and run with another cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.changed_image import changed_image
from tests.support.target import target
from tests.vm.conftest import DEADLINE

from microvm.images import FORMAT, Image, load, tags
from microvm.images.config import ImageConfig

pytestmark = pytest.mark.thorough

CONFIG = ImageConfig(env=("GREETING=hello",), cmd=("sh", "-c", "echo $GREETING"))


class ImageMachine:
    """A machine, which is a cache of its own here."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "microvm", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "MICROVM_CACHE": str(self.cache)},
        )

    def __call__(self, *arguments: str | Path) -> tuple[int, str, str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=DEADLINE)
            return process.returncode, out, err


def tag() -> str:
    """The full tag of the image, which ends with its architecture if this host has another one."""
    return tags.of_arch("hello:1", target().name)


@pytest.fixture(scope="module")
def exported(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of the default image with a command and a variable, tagged `hello:1`."""
    folder = tmp_path_factory.mktemp("exporting")
    here = ImageMachine(folder / "cache")
    changed_image(image, here.cache / "images" / image.name, config=CONFIG)
    assert here("image", "tag", image.digest, "hello:1")[0] == 0
    status, _, err = here("image", "export", "hello:1", "-o", folder / "hello.tar.zst")
    assert status == 0, err
    return folder / "hello.tar.zst"


@pytest.fixture
def there(exported: Path, tmp_path: Path) -> ImageMachine:
    """Another cache that has imported the archive."""
    machine = ImageMachine(tmp_path / "cache")
    status, out, err = machine("image", "import", exported)
    assert (status, out) == (0, f"{tag()}\n"), err
    return machine


def test_exported_image_runs_elsewhere_until_it_is_removed(
    there: ImageMachine, image: Image
) -> None:
    for name in ("hello:1", image.name, image.digest[:6]):
        status, out, err = there("run", "--image", name)
        assert (status, out) == (0, "hello\n"), err
    assert len(list((there.cache / "templates").iterdir())) == 1
    running = there.start(
        "run", "--image", "hello:1", "--", "sh", "-c", "echo up; sleep 1; echo $GREETING"
    )
    assert running.stdout
    assert running.stdout.readline() == "up\n"
    status, out, _ = there("image", "rm", "hello:1")
    assert (status, out) == (0, f"Untagged: {tag()}\nDeleted: {image.name}\n")
    assert list((there.cache / "templates").iterdir()) == []
    assert running.communicate(timeout=DEADLINE)[0] == "hello\n"
    assert running.returncode == 0
    status, _, err = there("run", "--image", "hello:1")
    assert status == 125
    assert "no image hello:1 (`microvm image ls` lists" in err


@pytest.mark.parametrize("part", ["kernel", "initramfs.cpio"])
def test_damaged_image_is_refused_with_a_next_step(
    part: str, there: ImageMachine, image: Image
) -> None:
    path = there.cache / "images" / image.name / part
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    status, out, err = there("run", "--image", "hello:1")
    assert (status, out) == (125, "")
    assert f"{part}: damaged image: its content has changed (`microvm image rm {image.name}`" in err


def test_image_of_an_older_version_is_refused_with_a_next_step(
    there: ImageMachine, image: Image
) -> None:
    manifest = there.cache / "images" / image.name / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    status, _, err = there("run", "--image", "hello:1")
    assert status == 125
    assert f"another version of microvm wrote it (`microvm image rm {image.name}` removes it" in err


def test_machines_start_while_tags_move_and_images_are_pruned(
    there: ImageMachine, image: Image
) -> None:
    copy = image.name.replace(image.digest, "0" * 12)
    images = there.cache / "images"
    changed_image(load(images / image.name), images / copy, name=copy)
    there("image", "tag", copy, "copy")
    there("run", "--image", "hello:1")
    there("run", "--image", "copy")
    mover = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom microvm.images import tags\n"
            "from microvm_image.image_removal import prune\n"
            "while True:\n for image in sys.argv[1:]:\n  tags.assign('moving', image)\n  prune()",
            image.name,
            copy,
        ],
        env={**os.environ, "MICROVM_CACHE": str(there.cache)},
    )
    try:
        there("image", "tag", "copy", "moving")
        for _ in range(5):
            status, out, err = there("run", "--image", "moving")
            assert (status, out) == (0, "hello\n"), err
        assert mover.poll() is None
    finally:
        mover.kill()
        mover.wait()
