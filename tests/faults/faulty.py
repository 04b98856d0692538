"""The compiled library `fault.c`, and its control from a process that has it preloaded."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fault.c")
EVER = 1 << 40
FLAGS = ("-std=c11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-shared", "-fPIC")


def compiled(folder: Path) -> Path:
    """Compile the library into a folder."""
    library = folder / "fault.so"
    built = subprocess.run(
        ["gcc", *FLAGS, "-o", library, SOURCE], check=False, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return library


@pytest.fixture(scope="session")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that has the library preloaded."""
    library = compiled(tmp_path_factory.mktemp("fault"))
    return {**os.environ, "LD_PRELOAD": str(library)}


@contextmanager
def failing(
    below: Path, calls: str, number: int, first: int, last: int = EVER
) -> Iterator[list[int]]:
    """Make calls fail that access files below a folder, from the first to the last.

    :param calls: names of the calls, as `fault.c` knows them, separated by commas.
    :param first: number of the first call that fails, from 1.
    :return: list to which the number of calls is added at the end.
    """
    library = ctypes.CDLL(None)
    counted: list[int] = []
    names = (os.fsencode(below), calls.encode(), number)
    library.fault_arm(*names, ctypes.c_long(first), ctypes.c_long(last))
    try:
        yield counted
    finally:
        counted.append(library.fault_disarm())


def step_clock(seconds: int) -> None:
    """Set the wall clock of this process forward or back by this time."""
    ctypes.CDLL(None).fault_clock(ctypes.c_long(seconds))
