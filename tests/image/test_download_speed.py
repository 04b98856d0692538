"""Tests of the meter of a download's speed."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from microvm_image import download_speed

pytestmark = pytest.mark.thorough


def test_size_of_a_folder_is_counted_while_files_are_renamed(tmp_path: Path) -> None:
    folder = tmp_path / "pull"
    (folder / "partial").mkdir(parents=True)
    over = threading.Event()

    def rename() -> None:
        while not over.is_set():
            for name in map(str, range(20)):
                (folder / "partial" / name).write_bytes(b"12345")
                (folder / "partial" / name).rename(folder / name)

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert download_speed.size_of(folder) % 5 == 0
    finally:
        over.set()
        thread.join()
    assert download_speed.size_of(folder) == 100
    assert download_speed.size_of(folder / "gone") == 0
