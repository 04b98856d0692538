"""Folders that the processes of a test run share. The first that needs a folder fills it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that `make` has filled in this run, in this or in another process."""
    base = factory.getbasetemp()
    # pytest-xdist gives each process a subfolder `popen-…`.
    shared = base.parent if base.name.startswith("popen-") else base
    folder = shared / name
    with (shared / f"{name}.made").open("ab") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        if not os.fstat(mark.fileno()).st_size:
            folder.mkdir(exist_ok=True)
            make(folder)
            mark.write(b"1")
    return folder
