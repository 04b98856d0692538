"""Tests of the disk of an image, which mkfs.erofs writes and the tools of erofs-utils read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.image.layers import file, folder, hard, layer, link, tar

from microvm.errors import ImageError
from microvm_image import disk
from microvm_image.tree import RootfsTree

DIGEST = "0123456789abcdef" * 4


def made(out: Path, *layers: bytes) -> Path:
    with RootfsTree() as tree:
        for data in layers:
            tree.add(layer(data))
        disk.write(tree, out, DIGEST)
    return out


def dumped(path: Path, *options: str) -> str:
    done = subprocess.run(
        ["dump.erofs", *options, path],
        check=True,
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
    )
    return done.stdout.decode("utf-8", "surrogateescape")


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    data = tar(folder("d", mtime=7), file("d/a", b"x" * 9000), hard("b", "d/a"), link("l", "b"))
    first = made(tmp_path / "first", data)
    assert made(tmp_path / "second", data).read_bytes() == first.read_bytes()
    assert DIGEST[:8] in dumped(first)
    subprocess.run(["fsck.erofs", first], check=True, capture_output=True)
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"first", "second"}


def test_missing_mkfs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageError, match=r"needs mkfs.erofs.*apt install erofs-utils"):
        made(tmp_path / "disk", tar(file("a")))


def test_output_of_a_failed_mkfs_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    with pytest.raises(ImageError, match="writing the disk failed") as caught:
        made(tmp_path / "disk", tar(file("a", bytes(1 << 20))))
    assert caught.value.detail
