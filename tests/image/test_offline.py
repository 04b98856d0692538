"""Tests of the files in an image that tell programs in a guest that there is no network."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest

from microvm_image import offline
from microvm_image.layer import NodeLayer
from microvm_image.node import BytesData, FileNode, Folder
from microvm_image.tree import RootfsTree

RESOLVER = b"options timeout:0\n"


def file(text: bytes = b"") -> FileNode:
    return FileNode(stat.S_IFREG | 0o755, uid=5, data=BytesData(text))


def link(target: str) -> FileNode:
    return FileNode(stat.S_IFLNK | 0o777, target=target)


def with_etc(nodes: Mapping[str, FileNode]) -> dict[str, FileNode]:
    return {"etc": Folder(stat.S_IFDIR | 0o755), **nodes}


def settled(nodes: Mapping[str, FileNode]) -> dict[str, bytes]:
    """Return the contents of the files that `offline.settle` adds to a tree with these nodes."""
    with RootfsTree() as tree:
        tree.add(NodeLayer("brought", nodes))
        before = dict(tree.walk())
        offline.settle(tree)
        offline.settle(tree)
        return {
            path: b"".join(node.data.chunks())
            for path, node in tree.walk()
            if node.data and node is not before.get(path)
        }


@pytest.mark.parametrize(
    ("there", "path"),
    [
        ("etc/passwd", ""),
        ("etc/apt/apt.conf.d/01autoremove", "etc/apt/apt.conf.d/90microvm"),
        ("usr/bin/pip", "etc/pip.conf"),
        ("usr/local/bin/pip", "etc/pip.conf"),
        ("usr/bin/npm", "etc/npmrc"),
        ("usr/local/bin/npm", "usr/local/etc/npmrc"),
    ],
)
def test_image_gets_the_files_of_its_programs(there: str, path: str) -> None:
    nodes = with_etc({"usr/local/etc/other": file(), there: file(b"#!")})
    assert settled(nodes).keys() == {"etc/resolv.conf", path} - {""}


def test_file_of_a_program_needs_its_folder() -> None:
    assert settled({"usr/local/bin/npm": file(b"#!")}) == {}


@pytest.mark.parametrize(
    "there", [None, file(), link("../run/systemd/resolve/stub-resolv.conf"), link("resolv.conf")]
)
def test_missing_or_empty_file_is_written(there: FileNode | None) -> None:
    nodes = with_etc({"etc/resolv.conf": there} if there else {})
    assert settled(nodes) == {"etc/resolv.conf": RESOLVER}


@pytest.mark.parametrize(
    "nodes",
    [
        with_etc({"etc/resolv.conf": file(b"nameserver 127.0.0.1\n")}),
        with_etc({"etc/resolv.conf": link("own"), "etc/own": file(b"nameserver 127.0.0.1\n")}),
        with_etc({"etc/resolv.conf": Folder(stat.S_IFDIR | 0o755)}),
        {"etc": file(b"x")},
        {"etc": link("etc")},
        {},
    ],
    ids=["file", "file behind a link", "folder", "etc is a file", "loop", "no etc"],
)
def test_own_files_of_an_image_are_kept(nodes: Mapping[str, FileNode]) -> None:
    assert settled(nodes) == {}
