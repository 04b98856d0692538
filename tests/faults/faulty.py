"""The library `fault.c`, compiled, and a process's hold on it where that has it preloaded."""

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
    """Have calls fail that reach files below a folder, from the first to the last.

    :param calls: their names, as `fault.c` has them, with commas between.
    :param first: the number of the first to fail, from 1 on.
    :return: a list, to which in the end is added how many calls there were.
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
    """Have this process's wall clock be off from now on."""
    ctypes.CDLL(None).fault_clock(ctypes.c_long(seconds))
