"""Tests of sparse files: data that is copied, released, or shared."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from microvm.start import sparse

PAGE = 4096
PAGES = 700  # more than one chunk, with a partial one


def _write(path: Path, pages: dict[int, bytes]) -> int:
    """Create a file with these pages and holes between them, and open it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(file, PAGES * PAGE)
    for number, page in pages.items():
        os.pwrite(file, page, number * PAGE)
    return file


def _read(file: int) -> bytes:
    return os.pread(file, PAGES * PAGE, 0)


def _some(seed: int, count: int) -> dict[int, bytes]:
    random = Random(seed)
    return {random.randrange(PAGES): random.randbytes(PAGE) for _ in range(count)}


@pytest.mark.parametrize("seed", range(8))
def test_drop_zeros_keeps_the_content(tmp_path: Path, seed: int) -> None:
    kept = _some(seed, 40)
    zeros = dict.fromkeys(_some(seed + 100, 300), bytes(PAGE))
    file = _write(tmp_path / "file", zeros | kept)
    before = _read(file)
    sparse.drop_zeros(file)
    assert _read(file) == before
    assert os.fstat(file).st_blocks * 512 <= len(kept) * PAGE + (64 << 10)
    os.close(file)


@pytest.mark.parametrize("seed", range(8))
def test_copy_changes_makes_the_files_equal(tmp_path: Path, seed: int) -> None:
    old = _some(seed, 200)
    gone = dict.fromkeys(list(old)[:50], bytes(PAGE))
    base, target = (_write(tmp_path / name, old) for name in ("base", "target"))
    source = _write(tmp_path / "source", old | gone | _some(seed + 100, 60))
    sparse.copy_changes(source, base, target)
    assert _read(target) == _read(source)
    for file in (base, target, source):
        os.close(file)


@pytest.fixture
def sharing(tmp_path: Path) -> Iterator[Path]:
    """A folder in a file system whose files can share blocks."""
    make = shutil.which("mkfs.xfs", path=f"{os.environ['PATH']}:/usr/sbin")
    if os.geteuid() != 0 or make is None:
        pytest.skip("only root can mount a disk, and only mkfs.xfs makes one")
    disk, folder = tmp_path / "disk", tmp_path / "mounted"
    folder.mkdir()
    disk.touch()
    os.truncate(disk, 400 << 20)
    subprocess.run([make, "-q", disk], check=True)
    mount = ["mount", "-o", "loop", str(disk), str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("may not mount a disk here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_blocks_are_shared(sharing: Path) -> None:
    base = _write(sharing / "base", dict.fromkeys(range(PAGES), b"x" * PAGE))
    source = _write(sharing / "source", dict.fromkeys(range(1, PAGES), b"x" * PAGE))
    target = _write(sharing / "target", {})
    os.sync()
    before = os.statvfs(sharing).f_bfree
    assert sparse.share(base, target)
    sparse.copy_changes(source, base, target)
    os.sync()
    assert _read(target) == _read(source)
    assert before - os.statvfs(sharing).f_bfree < PAGES // 4
    for file in (base, target, source):
        os.close(file)


def test_share_reports_an_unsupported_file_system(tmp_path: Path) -> None:
    file = _write(tmp_path / "file", {0: b"x" * PAGE})
    elsewhere = os.memfd_create("elsewhere")
    assert not sparse.share(file, elsewhere)
    os.close(file)
    os.close(elsewhere)
