"""Tests of the users who may read a cache, and of caches of older versions."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.host.test_template import ORIGIN
from tests.support.ordinary import USER, acting_as_user, only_root

from microvm import CacheError, SnapshotError, cache
from microvm.cache import lock, readers
from microvm.progress import NullReporter
from microvm.start import saved, snapshots

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=[0, 0o022, 0o077])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Each umask, one after the other."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of a cache that does not exist."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(readers, "_corrected", set())
    return tmp_path / "cache"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make(name: str) -> Path:
    """Create a folder of the cache that contains a folder with a file, like an image."""
    path = cache.folder(name) / "made"
    with lock.held(path, NullReporter()), cache.staging(path) as folder:
        folder.mkdir()
        (folder / "written").write_text("data")
        (folder / "program").touch(mode=0o700)
        (folder / "kept").touch(mode=cache.READ_ONLY_MODE)
    return path


def modes(path: Path) -> dict[str, int]:
    """Return the modes of this folder, of the files in it, and of its parent."""
    return {each.name: mode(each) for each in (path.parent, path, *path.iterdir())}


PRIVATE = {"made": 0o700, "written": 0o600, "program": 0o700, "kept": 0o400}
OPEN = {"made": 0o755, "written": 0o644, "program": 0o755, "kept": 0o444}


@pytest.mark.usefixtures("mask")
def test_files_of_the_cache_are_private(top: Path) -> None:
    for name in readers.FOLDERS:
        assert modes(make(name)) == {name: 0o700, **PRIVATE}
    cache.write(top / "accel-0", b"works")
    assert mode(top / "accel-0") == 0o600
    assert mode(top) == 0o700
    others = {path for path in top.rglob("*") if mode(path) & 0o077}
    assert not others


def older(top: Path) -> None:
    """A cache with the modes of older versions."""
    for name in (*readers.FOLDERS, ""):
        (top / name).mkdir(parents=True, exist_ok=True)
        (top / name).chmod(0o755)
        for file, its_mode in OPEN.items():
            if name and file != "made":
                path = top / name / "made" / file
                path.parent.mkdir(exist_ok=True)
                path.parent.chmod(0o755)
                path.touch()
                path.chmod(its_mode)
    (top / "accel-0").touch()
    (top / "accel-0").chmod(0o644)


@pytest.mark.parametrize("first", readers.FOLDERS)
def test_first_use_corrects_the_cache_of_an_older_version(top: Path, first: str) -> None:
    older(top)
    cache.folder(first)
    for name in readers.FOLDERS:
        assert modes(top / name / "made") == {name: 0o700, **PRIVATE}
    assert mode(top / "accel-0") == 0o600
    assert mode(top) == 0o755  # the user may have created this folder for other purposes, too


def test_correction_leaves_everything_else_alone(top: Path, tmp_path: Path) -> None:
    """The cache's folder may also have a user's files, links to files, and unfinished items."""
    older(top)
    unfinished = top / "downloads" / ".tree.tmp" / "tree" / "etc"
    left = [tmp_path / "linked", top / "mine" / "file", unfinished]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.chmod(0o644)
    (top / "images" / "made" / "link").symlink_to(left[0])
    cache.folder("programs")
    assert [mode(path) for path in left] == [0o644] * 3
    assert mode(top / "mine") == 0o755


def test_interrupted_correction_is_continued(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older(top)
    chmod = Path.chmod
    calls = 0

    def interrupted(path: Path, wanted: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 20:
            raise KeyboardInterrupt
        chmod(path, wanted)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cache.folder("programs")
    monkeypatch.setattr(readers, "_corrected", set())  # as in another process
    cache.folder("programs")
    assert not [path for path in top.rglob("*") if mode(path) & 0o077]


@only_root
@pytest.mark.usefixtures("mask")
def test_root_shares_a_cache_on_purpose(top: Path) -> None:
    top.mkdir(mode=0o700)
    (top / readers.MARK).touch()
    for name in readers.FOLDERS:
        wanted = PRIVATE if name in readers.PRIVATE else OPEN
        assert modes(make(name)) == {name: wanted["made"], **wanted}
    cache.write(top / "accel-0", b"works")
    assert (mode(top), mode(top / "accel-0")) == (0o755, 0o644)


@only_root
def test_root_shares_and_unshares_a_cache(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in readers.FOLDERS:
        make(name)
    (top / readers.MARK).touch()
    cache.folder("programs")
    assert modes(top / "images" / "made") == {"images": 0o755, **OPEN}
    assert modes(top / "snapshots" / "made") == {"snapshots": 0o700, **PRIVATE}
    assert mode(top) == 0o755
    (top / readers.MARK).unlink()
    cache.folder("programs")
    assert modes(top / "images" / "made") == {"images": 0o700, **PRIVATE}


@only_root
def test_shared_cache_takes_no_snapshot(top: Path) -> None:
    top.mkdir()
    (top / readers.MARK).touch()
    with saved.blank() as memory:
        for keep in (
            snapshots.check_room,
            lambda: snapshots.save(memory, name="s", origin=ORIGIN, copied=False),
        ):
            with pytest.raises(SnapshotError, match="all users may read it") as caught:
                keep()
            assert "MICROVM_CACHE" in caught.value.hint
    assert not (top / "snapshots").exists()


@only_root
def test_error_says_how_root_shares_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv("MICROVM_CACHE", f"{name}/cache")
        make("images")
        with acting_as_user(), pytest.raises(CacheError, match="Permission denied") as caught:
            cache.folder("images")
    assert "an empty file SHARED" in caught.value.hint


@only_root
def test_mark_of_another_user_shares_nothing(top: Path) -> None:
    top.mkdir()
    (top / readers.MARK).touch()
    os.chown(top, USER, USER)
    with acting_as_user():
        assert not cache.is_shared(top)


def test_all_folders_of_a_cache_are_known() -> None:
    sources = [*(ROOT / "host").rglob("*.py"), *(ROOT / "image").rglob("*.py")]
    used = {
        name
        for path in sources
        for name in re.findall(r'cache\.folder\("(\w+)"\)', path.read_text())
    }
    used |= {snapshots.STORE.folder.name, "templates"}
    assert used == {*readers.FOLDERS}
