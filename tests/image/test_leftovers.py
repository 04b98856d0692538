"""Tests that prune removes the folders of killed builds of older versions, and nothing else."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.ordinary import USER, only_root

from microvm.system.namespaces import mounts_below
from microvm_image.removal import prune


class Mounts:
    """The temporary file systems that a test has mounted."""

    def __init__(self) -> None:
        self._points: list[Path] = []

    def mount(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "microvm-test", str(folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("may not mount here")
        self._points.append(folder)

    def clear(self) -> None:
        for point in reversed(self._points):
            subprocess.run(["umount", point], check=False, capture_output=True)


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    """Yield an object that mounts file systems, and unmount them after the test."""
    made = Mounts()
    yield made
    made.clear()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set $TMPDIR to a new folder, and return the folder."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def root(temporary: Path) -> Path:
    """Return a folder that mmdebstrap left, with a link to a file that has to stay."""
    folder = temporary / "mmdebstrap.ptzgiVBg0Q"
    (folder / "etc").mkdir(parents=True)
    (temporary.parent / "kept").write_text("kept")
    (folder / "etc/link").symlink_to(temporary.parent)
    return folder


@pytest.fixture
def is_kept(temporary: Path) -> Callable[[], bool]:
    return (temporary.parent / "kept").exists


@only_root
def test_prune_unmounts_and_removes_an_old_root(
    root: Path, temporary: Path, mounts: Mounts, is_kept: Callable[[], bool]
) -> None:
    for name in ("proc", "dev/pts", "dev/shm"):
        mounts.mount(root / name)
    mounts.mount(root / "proc/nested")
    mounts.mount(temporary / "others")
    prune()
    assert [*temporary.iterdir()] == [temporary / "others"]
    assert mounts_below(str(temporary)) == [str(temporary / "others")]
    assert is_kept()


@only_root
def test_prune_keeps_roots_of_other_users(root: Path, mounts: Mounts) -> None:
    mounts.mount(root / "proc")
    os.chown(root, USER, USER)
    prune()
    assert mounts_below(str(root)) == [str(root / "proc")]


@only_root
def test_prune_trusts_no_folder_of_another_user(
    root: Path, temporary: Path, mounts: Mounts
) -> None:
    mounts.mount(root / "proc")
    os.chown(temporary, USER, USER)
    prune()
    assert mounts_below(str(root)) == [str(root / "proc")]


@only_root
def test_prune_does_not_empty_a_mount_by_that_name(temporary: Path, mounts: Mounts) -> None:
    folder = temporary / "mmdebstrap.ptzgiVBg0Q"
    mounts.mount(folder)
    (folder / "file").touch()
    prune()
    assert (folder / "file").exists()


def test_prune_keeps_a_root_that_is_in_use(root: Path, is_kept: Callable[[], bool]) -> None:
    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        prune()
        assert root.exists()
    finally:
        os.close(descriptor)
    prune()
    assert not root.exists()
    assert is_kept()


def test_prune_follows_no_link(root: Path, temporary: Path) -> None:
    real = temporary / "real"
    root.rename(real)
    root.symlink_to(real)
    prune()
    assert (real / "etc/link").is_symlink()


@pytest.mark.parametrize(
    ("name", "content", "age", "stays"),
    [
        ("mmdebstrap.gpghome.BD7AlshCfjg9", ["key"], 90_000, False),
        ("mmdebstrap.gpghome.BD7AlshCfjg9", ["key"], 80_000, True),
        ("microvm-ab12_xyz", ["confine"], 90_000, False),
        ("microvm-ab12_xyz", ["confine"], 80_000, True),
        ("microvm-notebook", ["confine", "thesis"], 90_000, True),
        ("mmdebstrap.mine", [], 90_000, True),
    ],
)
def test_prune_removes_old_folders_only(
    temporary: Path, name: str, content: list[str], age: int, *, stays: bool
) -> None:
    folder = temporary / name
    folder.mkdir()
    for each in content:
        (folder / each).touch()
    then = folder.stat().st_mtime - age
    os.utime(folder, (then, then))
    prune()
    assert folder.exists() == stays
