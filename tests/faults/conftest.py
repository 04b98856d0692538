"""Fixtures of the faults: a cache with a template, and one without."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from tests.vm.conftest import Misbehave, misbehave

from microvm.images import Image

from .faulty import faulty
from .state import FaultScene

__all__ = ["faulty", "misbehave"]


@pytest.fixture(scope="session")
def templates(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with a template, for all tests."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROVM_CACHE", str(cache))

        async def make() -> None:
            async with FaultScene(image).machine():
                pass

        asyncio.run(make())
    return cache


@pytest.fixture
def cache(templates: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache with a template, as the cache of this test."""
    monkeypatch.setenv("MICROVM_CACHE", str(templates))
    return templates


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def scene(image: Image, request: pytest.FixtureRequest) -> FaultScene:
    """A scene whose QEMUs can be replaced by a script, which switches off their confinement."""

    def misbehave(script: str) -> object:
        made.options["confinement"] = "off"
        instead: Misbehave = request.getfixturevalue("misbehave")
        return instead(script)

    made = FaultScene(image, misbehave)
    return made
