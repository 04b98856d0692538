"""A small file system that a test can fill."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of a size, such as `1m`, on a folder; skip without permission."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "microvm-test", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("may not mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(folder: Path, *, spare: int) -> Iterator[None]:
    """Use up the free space of the disk that has this folder, except `spare` bytes."""
    with tempfile.TemporaryFile(dir=folder) as file:
        disk = os.statvfs(folder)
        os.posix_fallocate(file.fileno(), 0, disk.f_bavail * disk.f_frsize - spare)
        yield
