"""Tests of the error if a framework is missing or has another interface."""

from __future__ import annotations

import re
from importlib import metadata

import pytest

from microvm.frameworks.versions import supported


def test_error_names_supported_and_installed_version() -> None:
    expected = (
        "This adapter supports mcp>=2.3, and "
        f"{metadata.version('mcp')} is installed (cannot import name 'Workbench' from 'mcp'"
    )
    with pytest.raises(ImportError, match=re.escape(expected)), supported("mcp"):
        from mcp import Workbench  # type: ignore[attr-defined] # noqa: F401


def test_error_of_missing_framework_names_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    expected = (
        "none is installed (No module named 'mcp.nowhere'). Run `pip install 'microvm-proto[mcp]'`."
    )
    with pytest.raises(ImportError, match=re.escape(expected)), supported("mcp"):
        import mcp.nowhere  # type: ignore[import-not-found] # noqa: F401
