"""Tests of the daemon's executable file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def test_binary_is_small(shipped: Path) -> None:
    size = shipped.stat().st_size
    print(f"sandboxd is {size} bytes")
    assert size <= 24 << 10


def test_binary_is_static_and_stripped(shipped: Path) -> None:
    command = ["readelf", "--program-headers", "--sections", "--wide", str(shipped)]
    if shutil.which(command[0]) is None:
        pytest.skip("readelf is not installed")
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "LOAD" in shown
    assert not {"INTERP", "DYNAMIC", ".symtab", ".debug_info"} & set(shown.split())
