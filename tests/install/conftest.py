"""Fixtures with the built files in clean environments, as users have them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.install import built
from tests.install.built import UserHost
from tests.support.ordinary import enterable

from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm_image import rootfs


@pytest.fixture(scope="session", autouse=True)
def _alpine() -> None:
    """Skip the tests if Alpine's archive, a part of the guest pack, cannot be had."""
    try:
        rootfs.find_alpine(built.ARCH, NullReporter())
    except ImageError as error:
        hint = error.hint.partition(";")[0]
        pytest.skip(f"a guest pack contains Alpine, which is missing here: {hint}")


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    """A folder that all users may enter."""
    with enterable() as folder:
        yield folder


@pytest.fixture(scope="session")
def dist(shared: Path) -> Path:
    """The folder of the built files and of their dependencies for this Python."""
    folder = shared / "dist"
    folder.mkdir()
    built.build_all(folder)
    built.download(folder, sys.executable)
    return folder


@pytest.fixture(scope="module")
def host(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> UserHost:
    """A host of the user of the tests, with the installed files."""
    made = built.host(tmp_path_factory.mktemp("host"), is_user=False)
    made.install(dist, sys.executable, built.WHAT)
    return made
