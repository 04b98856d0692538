"""Fixtures with a runtime folder for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from microvm.supervisor.runtime_directory import RuntimeDirectory


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of named machines."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "microvm"


@pytest.fixture
def runtime(folder: Path) -> Iterator[RuntimeDirectory]:
    """The folder of named machines, created and open."""
    del folder
    with RuntimeDirectory(make=True) as made:
        yield made
