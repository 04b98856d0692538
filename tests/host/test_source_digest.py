"""Tests of the digest of sources, which reads only files that have changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from microvm.system.compiler import source_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with sources, and with files that are no sources."""
    (tmp_path / "part").mkdir()
    for name in ("main.c", "part/part.h", "Makefile", "notes"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("name", ["main.c", "part/part.h", "Makefile", "part/new.c"])
def test_digest_changes_with_each_source(folder: Path, name: str) -> None:
    before = source_digest(folder)
    (folder / name).write_text("changed")
    assert source_digest(folder) != before


def test_unchanged_source_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_digest(folder)
    (folder / "notes").write_text("no source")
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it is read again"))
    assert source_digest(folder) == before
