"""Tests of creating private folders in folders that another user can change."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.ordinary import USER, as_user, only_root

from microvm.errors import MicroVMError
from microvm.system import private

TRIES = 20_000

RACER = """
import os, sys
folder, moved, victim = sys.argv[1:]
print("ready", flush=True)
while os.getppid() != 1:
    try:
        os.rename(folder, moved)
        os.symlink(victim, folder)
    except OSError:
        pass
    for remove, path in ((os.unlink, folder), (os.rmdir, moved)):
        try:
            remove(path)
        except OSError:
            pass
"""


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of the user of the tests that every user can read."""
    file = tmp_path / "victim"
    file.touch()
    file.chmod(0o644)
    return file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o777])
def test_a_folder_gets_its_mode_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        os.close(private.make_path(str(tmp_path / "ours")))
        os.close(private.make_path(str(tmp_path / "all"), 0o755))
    finally:
        os.umask(before)
    assert (mode(tmp_path / "ours"), mode(tmp_path / "all")) == (0o700, 0o755)


def test_a_link_in_place_of_a_new_folder_is_not_followed(
    tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = os.mkdir

    def replaced(name: str, mode: int, *, dir_fd: int) -> None:
        """Create the folder, and replace it by a link at once."""
        make(name, mode, dir_fd=dir_fd)
        os.rmdir(name, dir_fd=dir_fd)
        os.symlink(victim, name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", replaced)
    with pytest.raises(NotADirectoryError):
        private.make_path(str(tmp_path / "ours"), 0o755)
    assert mode(victim) == 0o644


@only_root
def test_replaced_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = os.mkdir

    def replaced(name: str, mode: int, *, dir_fd: int) -> None:
        make(name, mode, dir_fd=dir_fd)
        os.chown(name, USER, USER, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", replaced)
    with pytest.raises(PermissionError, match="another user has replaced it"):
        private.make_path(str(tmp_path / "ours"), 0o755)
    assert mode(tmp_path / "ours") == 0o755 & ~_umask()


def _umask() -> int:
    os.umask(before := os.umask(0))
    return before


@only_root
def test_a_racing_user_changes_the_mode_of_no_file(tmp_path: Path, victim: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, USER, USER)
    made = 0
    with racing(theirs / "ours", theirs / "moved", victim):
        for _ in range(TRIES):
            with suppress(OSError):
                os.close(private.make_path(str(theirs / "ours")))
                made += 1
            assert mode(victim) == 0o644
    assert made > 1  # after each attempt but the last, the other user has moved the folder


@contextmanager
def racing(*paths: Path) -> Iterator[None]:
    """Let another user replace the first path by a link to the last one again and again."""
    command = as_user(sys.executable, "-c", RACER, *paths)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as racer:
        try:
            assert racer.stdout
            assert racer.stdout.readline() == b"ready\n"
            yield
        finally:
            racer.kill()


@only_root
def test_temporary_folder_must_be_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with private.temporary() as name:
        folder = Path(name)
        assert folder.parent == tmp_path
        assert mode(folder) == 0o700
    assert not folder.exists()
    os.chown(tmp_path, USER, USER)
    with pytest.raises(MicroVMError, match=f"belongs to user {USER}"), private.temporary():
        pass
    os.chown(tmp_path, 0, 0)
    tmp_path.chmod(0o777)
    with pytest.raises(MicroVMError, match="can be written by others"), private.temporary():
        pass
    tmp_path.chmod(0o1777)
    with private.temporary():
        pass
