"""Tests of Debian for a processor whose programs this host cannot run."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.image import mirror
from tests.image.layers import file, tar

from microvm import arches
from microvm.images import Image
from microvm_image.build import build
from microvm_image.recipe import Recipe, RunStep
from microvm_image.sources import foreign
from microvm_image.sources import image as images

pytestmark = pytest.mark.thorough

(OTHER,) = (each for each in arches.ARCHES.values() if each is not arches.find())


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A mirror with a Debian of two packages, whose programs cannot be run."""
    # Every user can enter the folder, because apt downloads as its own user.
    with tempfile.TemporaryDirectory() as top:
        Path(top).chmod(0o755)
        archive = mirror.Archive(Path(top, "archive"), OTHER)
        archive.add("apt", "1:1-1", {"usr/bin/apt-get": b"\x7fELF"}, "Priority: required")
        archive.add("base-passwd", "2", {"bin/sh": b"\x7fELF"}, "Essential: yes")
        archive.release()
        with mirror.serving(archive.files, {}) as address:
            config = archive.configure(address)
            # The host's apt knows a mirror only after it has downloaded an index of the mirror.
            with config.open("a") as settings:
                settings.write(f'APT::Architectures {{ "{OTHER.debian}"; }};\n')
            monkeypatch.setenv("APT_CONFIG", str(config))
            subprocess.run(["apt-get", "-qq", "update"], check=True)
            yield


@pytest.mark.usefixtures("debian", "parts")
def test_packages_are_installed_in_the_first_step() -> None:
    commands = []

    def run(
        image: Image, command: Sequence[str], show: Callable[[str], None], layer: BinaryIO
    ) -> None:
        commands.append(command)
        layer.write(tar(file(f"step{len(commands)}", b"")))

    built = build(Recipe("debian:trixie", steps=(RunStep(("work",)),)), arch=OTHER.name, run=run)
    assert commands == [foreign.INSTALL, ("work",)]
    assert built.manifest.source == "debian:trixie (apt=1:1-1, base-passwd=2)"
    with images.find(built.path, OTHER).tree() as tree:
        files = {path for path, _ in tree.walk()}
    archive = f"var/cache/apt/archives/base-passwd_2_{OTHER.debian}.deb"
    assert {"bin/sh", "usr/bin/apt-get", archive, "step1", "step2"} <= files
