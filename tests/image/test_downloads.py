"""Tests of the removal of downloads from the cache."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from microvm import arches
from microvm.cache import contents, lock
from microvm.progress import NullReporter
from microvm_image import downloads, package, rootfs
from microvm_image.build import build

DAY = 24 * 3600.0
WANTED = package.WantedPackage("linux-image", r"boot/vmlinuz-.*")


pytestmark = pytest.mark.usefixtures("parts")


@pytest.fixture
def folder(cache: Path) -> Path:
    folder = cache / "downloads"
    folder.mkdir(parents=True)
    return folder


def _package(days: float, version: str = "6.1.2-1") -> Path:
    """Create a download with an extracted file that was last used some days ago."""
    path = package.folder_of(WANTED, arches.find(), version)
    (path / "boot").mkdir(parents=True)
    (path / "boot/vmlinuz-6").write_bytes(b"kernel")
    for each in (path / "boot/vmlinuz-6", path / "boot", path):
        os.utime(each, (time.time() - days * DAY,) * 2)
    return path


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("[!.]*")}


def test_a_build_removes_downloads_unused_for_a_month(folder: Path) -> None:
    old, recent = _package(31, "1"), _package(29, "2")
    build()
    assert _names(folder) == {recent.name, rootfs.cached(arches.find()).name}
    assert not old.exists()


def test_use_of_a_package_sets_its_time(folder: Path) -> None:
    path = _package(31)
    before = path.stat().st_mtime  # the newest version is found by this time
    assert package._extracted(path, WANTED) is not None
    assert contents.last_use(path) > time.time() - DAY
    assert path.stat().st_mtime == before
    build()
    assert path.name in _names(folder)


def test_prune_keeps_the_dates_of_releases_and_the_base(folder: Path) -> None:
    build()
    path = _package(0)
    (folder / "releases.json").write_text("{}")
    archive = rootfs.cached(arches.find())
    assert downloads.prune() == [path]
    assert _names(folder) == {"releases.json", archive.name}
    assert downloads.prune(everything=True) == [archive]
    assert _names(folder) == {"releases.json"}


def test_prune_keeps_all_while_a_build_runs(folder: Path) -> None:
    path = _package(31)
    with downloads.in_use(NullReporter()), downloads.in_use(NullReporter()):
        assert downloads.prune() is None
        downloads.expire()
        assert path.is_dir()
    assert downloads.prune() == [path]
    assert not [*folder.parent.glob(".*")]


def test_prune_keeps_a_running_download(folder: Path) -> None:
    path = _package(31)
    with lock.held(path, NullReporter()):
        assert downloads.prune() == []
    assert path.is_dir()


def test_prune_without_a_cache(cache: Path) -> None:
    assert downloads.prune() == []
    assert not cache.exists()
