"""Tests of the guest's host name in the files of an image, whatever its layers contain."""

from __future__ import annotations

import stat
from collections.abc import Mapping

import pytest

from microvm.errors import ImageError
from microvm_image import hostname
from microvm_image.layer import NodeLayer
from microvm_image.node import BytesData, FileNode, Folder
from microvm_image.tree import RootfsTree


def file(text: bytes) -> FileNode:
    return FileNode(stat.S_IFREG | 0o600, uid=5, data=BytesData(text))


def settled(nodes: Mapping[str, FileNode], times: int = 1) -> dict[str, bytes]:
    """Return the contents of the files in /etc of a tree that has these nodes."""
    with RootfsTree() as tree:
        tree.add(NodeLayer("brought", nodes))
        for _ in range(times):
            hostname.settle(tree)
        return {
            path: b"".join(node.data.chunks())
            for path, node in tree.walk()
            if path.startswith("etc/") and node.data and not stat.S_ISLNK(node.mode)
        }


LOCAL = b"127.0.0.1\tlocalhost\n::1\tlocalhost\n"
OURS = b"127.0.0.1\tmicrovm\n"


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    ("brought", "kept"),
    [
        (None, LOCAL),
        (b"", LOCAL),
        (b"127.0.0.1 localhost web1\n10.0.0.1 db", b"127.0.0.1 localhost web1\n10.0.0.1 db\n"),
        (b"# localhost\n", b"# localhost\n" + LOCAL),
        (b"\xff\x00\n", b"\xff\x00\n" + LOCAL),
    ],
)
def test_image_gets_the_host_name_of_the_guest(
    brought: bytes | None, kept: bytes, times: int
) -> None:
    nodes = {"etc/hostname": file(b"web1\n")}
    if brought is not None:
        nodes["etc/hosts"] = file(brought)
    assert settled(nodes, times) == {"etc/hostname": b"microvm\n", "etc/hosts": kept + OURS}


def test_matching_files_are_not_changed() -> None:
    nodes = {"etc/hostname": file(b"microvm\n"), "etc/hosts": file(b"::1 localhost\n::1 microvm\n")}
    with RootfsTree() as tree:
        tree.add(NodeLayer("brought", nodes))
        hostname.settle(tree)
        assert [node for path, node in tree.walk() if path in nodes] == [*nodes.values()]


@pytest.mark.parametrize(
    "there",
    [
        FileNode(stat.S_IFLNK | 0o777, target="/nowhere"),
        FileNode(stat.S_IFLNK | 0o777, target="../etc/hostname"),
        FileNode(stat.S_IFCHR | 0o666, device=(1, 3)),
        Folder(stat.S_IFDIR | 0o755),
    ],
    ids=["dangling link", "loop", "device", "folder"],
)
def test_link_or_folder_is_replaced_by_a_file(there: FileNode) -> None:
    for path in ("etc/hostname", "etc/hosts"):
        assert settled({path: there})[path].endswith(b"microvm\n")


def test_hosts_behind_a_link_are_kept() -> None:
    link = FileNode(stat.S_IFLNK | 0o777, target="/lib/hosts")
    found = settled({"etc/hosts": link, "lib/hosts": file(b"::1 localhost x\n")})
    assert found["etc/hosts"] == b"::1 localhost x\n" + OURS


def test_large_hosts_file_is_not_changed() -> None:
    large = b"0.0.0.0 advertisement\n" * 200_000
    assert settled({"etc/hosts": file(large)})["etc/hosts"] == large


def test_image_without_an_etc_folder_is_not_changed() -> None:
    assert settled({"etc": file(b"x")}) == {}
    assert settled({"etc": FileNode(stat.S_IFLNK | 0o777, target="etc")}) == {}


def test_link_does_not_lead_out_of_the_image() -> None:
    with RootfsTree() as tree, pytest.raises(ImageError, match="leads out"):
        tree.put("../hostname", file(b""))
