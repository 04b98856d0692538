"""Tests that prune removes the folders of killed builds, and nothing else."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.ordinary import USER, only_root
from tests.support.polling import DEADLINE
from tests.support.processes import environment

from microvm.progress import NoticeReporter
from microvm.system.namespaces import mounts_below
from microvm_image import stale_folders
from microvm_image.image_removal import prune

Mount = Callable[[Path], None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Yield a function that mounts a file system on a folder until the end of the test."""
    points: list[Path] = []

    def mount(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "microvm-test", str(folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("may not mount here")
        points.append(folder)

    yield mount
    for point in reversed(points):
        subprocess.run(["umount", point], check=False, capture_output=True)


@pytest.fixture
def root(temporary: Path) -> Path:
    """Return a folder that mmdebstrap left, with a link to a file that must not be removed."""
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
    root: Path, temporary: Path, mount: Mount, is_kept: Callable[[], bool]
) -> None:
    for name in ("proc", "dev/pts", "dev/shm"):
        mount(root / name)
    mount(root / "proc/nested")
    mount(temporary / "others")
    prune()
    assert [*temporary.iterdir()] == [temporary / "others"]
    assert mounts_below(str(temporary)) == [str(temporary / "others")]
    assert is_kept()


@only_root
@pytest.mark.parametrize("theirs", ["root", "temporary"])
def test_prune_keeps_roots_in_folders_of_other_users(
    root: Path, temporary: Path, mount: Mount, theirs: str
) -> None:
    mount(root / "proc")
    os.chown(root if theirs == "root" else temporary, USER, USER)
    prune()
    assert mounts_below(str(root)) == [str(root / "proc")]


@only_root
def test_prune_does_not_empty_a_mount_by_that_name(temporary: Path, mount: Mount) -> None:
    folder = temporary / "mmdebstrap.ptzgiVBg0Q"
    mount(folder)
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


def test_prune_removes_the_folder_of_a_killed_keeper(temporary: Path) -> None:
    script = (
        "import sys; from microvm.system.tools import started\n"
        "tool = 'touch \"$TMPDIR/file\"; echo begun; sleep 1000'\n"
        "with started(['sh', '-c', tool], stdout=1) as tool:\n"
        "    print(tool.pid, flush=True); tool.wait()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert owner.stdout
    with owner.stdout:
        lines = {owner.stdout.readline().strip(), owner.stdout.readline().strip()}
        keeper = int(max(lines - {"begun"}))
        (folder,) = temporary.iterdir()
        prune()
        assert (folder / "file").exists()
        os.kill(owner.pid, signal.SIGSTOP)
        os.kill(keeper, signal.SIGKILL)
        owner.kill()
        owner.wait()
        owner.stdout.read()  # until the last process of the tool has exited
    assert folder.exists()
    end = time.monotonic() + DEADLINE
    while folder.exists():
        prune()
        assert time.monotonic() < end


@pytest.mark.parametrize("name", ["microvm-0123456789abcdef", "microvm-0123456789abcdeg"])
def test_prune_removes_only_folders_with_names_of_a_keeper(temporary: Path, name: str) -> None:
    (temporary / name / "folder").mkdir(parents=True)
    prune()
    assert (temporary / name).exists() == name.endswith("g")


def test_a_file_called_new_does_not_stop_prune(root: Path, temporary: Path) -> None:
    new = temporary / "new"
    new.mkdir()
    new.chmod(0o777)  # pretend that it belongs to another user
    prune()
    assert not root.exists()


@only_root
def test_prune_reports_a_folder_that_it_does_not_trust(
    root: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(temporary, USER, USER)
    notices: list[str] = []
    prune(report=NoticeReporter(notices.append))
    assert root.exists()
    assert any(str(temporary) in notice for notice in notices)
    # the folder can also become unsafe after it was chosen
    monkeypatch.setattr(stale_folders, "temporary_folder", lambda: str(temporary))
    notices.clear()
    prune(report=NoticeReporter(notices.append))
    assert root.exists()
    why = f"{temporary} belongs to user {USER}"
    assert notices == [f"cannot search {temporary} for folders of killed builds: {why}"]


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
