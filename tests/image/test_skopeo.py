"""What is looked at of a pull while it goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from microvm_image import skopeo


def test_the_size_of_a_folder_is_counted_while_its_files_are_renamed(tmp_path: Path) -> None:
    over = threading.Event()

    def rename() -> None:
        while not over.is_set():
            for name in map(str, range(20)):
                (tmp_path / f"{name}.new").write_bytes(b"12345")
                (tmp_path / f"{name}.new").rename(tmp_path / name)

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        until = time.monotonic() + 1
        while time.monotonic() < until:
            assert skopeo._size(tmp_path) % 5 == 0
    finally:
        over.set()
        thread.join()
    assert skopeo._size(tmp_path) == 100
    assert skopeo._size(tmp_path / "gone") == 0
