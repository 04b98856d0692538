"""Tests of machines from caches that are copied, read-only, or locked by a stopped process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.ordinary import USER, as_user, only_root, read_only
from tests.support.parameters import accelerator
from tests.vm.conftest import DEADLINE

from microvm import cache as caches
from microvm.cache import readers
from microvm.images import Image

pytestmark = pytest.mark.thorough

Run = Callable[..., subprocess.CompletedProcess[str]]

START = [sys.executable, "-m", "microvm", "run"]


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, image: Image) -> Path:
    """A cache with an image and its template, to be copied by each test."""
    folder = tmp_path_factory.mktemp("warm") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROVM_CACHE", str(folder))
        caches.make(folder / "images")
        shutil.copytree(image.path, folder / "images" / image.name)
        hello(image)
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: Path) -> Path:
    """A copy of the cache, as `docker cp` makes it: without holes, with times of whole seconds."""
    copy = tmp_path / "cache"
    shutil.copytree(warm, copy)
    for path in copy.rglob("*"):
        os.utime(path, (1e9, 1e9))
    monkeypatch.setenv("MICROVM_CACHE", str(copy))
    return copy


@pytest.fixture
def shared(cache: Path) -> Path:
    """The copy, readable for all users if the tests run as root."""
    (cache / readers.MARK).touch()
    caches.folder("images")
    return cache


def command(image: str) -> list[str]:
    """A command line of a machine with little memory, so that its template is saved quickly."""
    options = ["--image", image, "--memory", "96M", "--accel", accelerator(), "-v"]
    return [*START, *options, "--", "echo", "hello"]


def hello(image: Image | Path, *, user: bool = False) -> str:
    """Run a command, as an ordinary user if `user` is true, and return its standard error."""
    words = command(str(image) if isinstance(image, Path) else image.name)
    words = as_user(*words) if user else words
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    return done.stderr


def test_templates_of_a_copied_cache_are_used(image: Image, cache: Path) -> None:
    before = [path.stat().st_ino for path in (cache / "templates").rglob("ram")]
    for _ in range(2):
        said = hello(image)
        assert "cloned" in said
        assert "making it again" not in said
    assert [path.stat().st_ino for path in (cache / "templates").rglob("ram")] == before


def test_read_only_cache_is_used(image: Image, shared: Path) -> None:
    with read_only(shared):
        said = hello(image, user=True)
        assert "cloned" in said
        assert "instead" not in said


def test_damaged_template_in_a_read_only_cache(image: Image, shared: Path) -> None:
    (ram,) = (shared / "templates").rglob("ram")
    ram.chmod(0o600)
    with ram.open("r+b") as file:
        os.pwrite(file.fileno(), b"damage", 1 << 20)
    ram.chmod(0o444)
    with read_only(shared):
        said = hello(image, user=True)
    assert "its memory has changed since it was saved" in said
    assert "booting instead" in said


@only_root
def test_root_uses_no_cache_of_another(image: Image, cache: Path) -> None:
    for path in (cache, *cache.rglob("*")):
        os.chown(path, USER, USER)
    done = subprocess.run(command(image.name), capture_output=True, text=True, check=False)
    assert done.returncode == 125
    assert f"belongs to user {USER}" in done.stderr
    assert "under sudo, -H uses root's" in done.stderr


@pytest.fixture
def older(warm: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache that every user can read, as older versions made it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        cache = Path(name, "cache")
        shutil.copytree(warm, cache)
        subprocess.run(["chmod", "-R", "go+rX", name], check=True)
        monkeypatch.setenv("MICROVM_CACHE", str(cache))
        yield cache


def readable(folder: Path) -> list[str]:
    """Return all paths in a folder that other users can read. As root, check it as another user."""
    if os.geteuid() != 0:
        return [str(path) for path in folder.rglob("*") if path.stat().st_mode & 0o077]
    walk = as_user("find", folder, "-mindepth", "1", "-readable", reads_all=False)
    done = subprocess.run(walk, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_other_users_cannot_read_a_cache(image: Image, older: Path, mask: int) -> None:
    assert len(readable(older)) == len(list(older.rglob("*")))
    save, script = ["--save", "kept", "-v", "--", "sh", "-c"], "echo secret >/dev/shm/file"
    for words, output in (
        ([*command(image.name)[:-4], *save, script], ""),
        ([*START, "--from", "kept", "-v", "--", "cat", "/dev/shm/file"], "secret\n"),
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False, umask=mask)
        assert (done.returncode, done.stdout) == (0, output), done.stderr
        assert "cloned" in done.stderr
    assert b"secret" in (older / "snapshots/kept/ram").read_bytes()
    assert readable(older) == []


def test_an_image_that_others_can_change_leaves_no_template(
    image: Image, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "image"
    shutil.copytree(image.path, folder)
    folder.chmod(0o777)
    before = sorted((cache / "templates").iterdir())
    assert "can be changed by others; booting" in hello(folder)
    assert sorted((cache / "templates").iterdir()) == before
    folder.chmod(0o755)
    assert "cloned" in hello(folder)


def test_a_fifo_in_a_template_does_not_block_a_start(image: Image, cache: Path) -> None:
    (path,) = (cache / "templates").rglob("ram")
    path.unlink()
    os.mkfifo(path)
    said = hello(image)
    assert f"{path.parent}: cannot read the template: not a plain file; making it again" in said
    assert "making it again" not in hello(image)


def test_template_locked_by_a_stopped_process_is_not_waited_for(image: Image, cache: Path) -> None:
    caches.clear(cache / "templates")
    with subprocess.Popen(
        command(image.name), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as maker:
        try:
            # The maker writes its process id after it has created the file.
            while not any(lock.read_bytes() for lock in cache.glob("templates/.*.lock")):
                assert maker.poll() is None
                time.sleep(0.01)
            maker.send_signal(signal.SIGSTOP)
            os.waitpid(maker.pid, os.WUNTRACED)
            said = hello(image)
            who = f"process {maker.pid} (stopped: kill -CONT {maker.pid})"
            assert f"no template can be saved: {who} saves a guest to clone, but" in said
            assert "booting instead" in said
            done = subprocess.run(
                [sys.executable, "-m", "microvm", "template", "prune", "--all"],
                capture_output=True,
                check=False,
            )
            assert (done.returncode, done.stdout) == (0, b"")
        finally:
            maker.kill()
    assert "cloned" in hello(image)
