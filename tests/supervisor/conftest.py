"""A runtime folder for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from microvm.supervisor.runtime import Runtime


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where named machines have their folders."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "microvm"


@pytest.fixture
def runtime(folder: Path) -> Iterator[Runtime]:
    """That folder, made and open."""
    del folder
    with Runtime(make=True) as made:
        yield made
