"""Tests of damaged caches, and of unusual homes and clocks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.ordinary import as_user

from microvm.images import Image

pytestmark = pytest.mark.thorough

WITHIN = 15.0

CLOCK = """
import sys
from tests.faults.faulty import step_clock
step_clock(int(sys.argv.pop(1)))
from microvm.cli.root import main
main()
"""


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


DAMAGES = (_flip, _cut, _empty, _link, Path.unlink)
FILES = (
    "templates/*/ram",
    "templates/*/state",
    "templates/*/manifest.json",
    "templates/*/verified.json",
    "images/*/kernel",
    "images/*/initramfs.cpio",
    "images/*/manifest.json",
    "images/*/verified.json",
    "programs/confine*",
)


@pytest.fixture
def cache(image: Image, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a cache with the image and its template."""
    copy = tmp_path / "cache"
    shutil.copytree(templates, copy)
    monkeypatch.setenv("MICROVM_CACHE", str(copy))
    shutil.copytree(image.path, copy / "images" / image.name)
    run(image.name)
    return copy


def run(image: str, *before: str, **env: str) -> subprocess.CompletedProcess[str]:
    options = ["--image", image, "--memory", "96M", "--accel", "tcg", "-v"]
    words = [*(before or (sys.executable, "-m", "microvm")), "run", *options, "--", "echo", "hello"]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=2 * WITHIN,
        check=False,
        env={**os.environ, **env},
    )
    assert "Traceback" not in done.stderr
    return done


def _long() -> Iterator[object]:
    for file in FILES:
        for damage in DAMAGES:
            yield pytest.param(file, damage, id=f"{file}-{damage.__name__}")


@pytest.mark.long
@pytest.mark.parametrize(("file", "damage"), [*_long()])
def test_damaged_file_of_the_cache_is_refused_or_replaced(
    file: str, damage: Callable[[Path], None], image: Image, cache: Path
) -> None:
    """A damaged image is refused with a hint. Other damaged files are created again or unused."""
    path = sorted(cache.glob(file))[0]
    path.chmod(0o755)
    damage(path)
    done = run(image.name)
    if file == "images/*/manifest.json" and damage is _flip and done.returncode == 0:
        return  # some bytes of it have no effect
    if file.startswith("images/") and "verified" not in file:
        assert (done.returncode, done.stdout) == (125, "")
        assert "damaged image" in done.stderr
        assert f"`microvm image rm {image.name}` removes it" in done.stderr
        return
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    again = run(image.name)
    assert again.returncode == 0
    assert "cloned" in again.stderr
    assert "making it again" not in again.stderr


@pytest.mark.long
@pytest.mark.parametrize("seconds", [-(10**9), -86400, 86400, 10**9])
def test_stepped_clock_does_not_disturb_a_start(
    seconds: int, image: Image, cache: Path, faulty: dict[str, str]
) -> None:
    path = os.pathsep.join(sys.path)
    said = run(image.name, sys.executable, "-c", CLOCK, str(seconds), **faulty, PYTHONPATH=path)
    assert (said.returncode, said.stdout) == (0, "hello\n"), said.stderr
    assert "cloned" in said.stderr
    assert "cloned" in run(image.name).stderr


@pytest.mark.long
@pytest.mark.parametrize("name", ["HOME", "TMPDIR", "XDG_CACHE_HOME"])
@pytest.mark.parametrize("value", ["/nonexistent", "/proc", "/dev/null", ""])
def test_missing_or_unwritable_other_folder_is_no_error(
    name: str, value: str, image: Image, cache: Path
) -> None:
    said = run(image.name, **{name: value})
    assert (said.returncode, said.stdout) == (0, "hello\n"), said.stderr
    assert "cloned" in said.stderr


@pytest.mark.long
@pytest.mark.parametrize("home", ["/nonexistent", "/proc", "/dev/null"])
def test_user_without_a_cache_folder_gets_a_boot_or_a_hint(
    home: str, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unprivileged user has no home, and names no other folder."""
    monkeypatch.delenv("MICROVM_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    user = as_user(sys.executable, "-m", "microvm")
    said = run(str(image.path), *user, HOME=home, PATH=os.environ["PATH"])
    if said.returncode:
        assert said.returncode == 125
        assert "MICROVM_CACHE names another folder" in said.stderr
    else:
        assert "booting instead" in said.stderr
