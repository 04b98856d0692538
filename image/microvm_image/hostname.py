"""Writes the guest's host name to the files of an image from which programs read it."""

from __future__ import annotations

import stat
from contextlib import suppress

from microvm.errors import ImageError
from microvm_image.node import BytesData, FileNode
from microvm_image.tree import RootfsTree

NAME = "microvm"
"""The host name of every guest. guest/boot.c sets it in the kernel of the guest."""

_HOSTNAME = "etc/hostname"
_HOSTS = "etc/hosts"
# maximum size in bytes of an image's own /etc/hosts; a larger file is not changed
_HOSTS_LIMIT = 4 << 20


def settle(tree: RootfsTree) -> None:
    """Write the host name of the guest to /etc/hostname and /etc/hosts of an image.

    The image's own /etc/hosts keeps its lines. Lines for `localhost` and the host name are added if
    they are missing. A file of more than 4 MiB is not changed.

    :raises ImageError: The tree exceeds its limits.
    """
    try:
        tree.folder("etc", make=True)
    except ImageError:
        return  # /etc is no folder, so no program in the image reads these files
    if _content(tree, _HOSTNAME) != f"{NAME}\n".encode():
        _write(tree, _HOSTNAME, f"{NAME}\n".encode())
    hosts = _content(tree, _HOSTS)
    if hosts is not None and (lacking := _lacking(hosts)):
        end = b"\n" if hosts and not hosts.endswith(b"\n") else b""
        _write(tree, _HOSTS, hosts + end + lacking)


def _content(tree: RootfsTree, path: str) -> bytes | None:
    """Return the content of a file in the tree; b"" if it is missing, None if it is too long."""
    data = None
    # ignore a file that cannot be read, for example because links in its path form a loop
    with suppress(ImageError):
        data = tree.file(path)
    if data is None:
        return b""
    return b"".join(data.chunks()) if data.size <= _HOSTS_LIMIT else None


def _lacking(hosts: bytes) -> bytes:
    """Return the lines for `localhost` and the host name that `hosts`, a /etc/hosts, lacks."""
    lines = [line.partition(b"#")[0].split() for line in hosts.splitlines()]
    named = {name for line in lines for name in line[1:]}
    lacking = b""
    if b"localhost" not in named:
        lacking += b"127.0.0.1\tlocalhost\n::1\tlocalhost\n"
    if NAME.encode() not in named:
        lacking += b"127.0.0.1\t%b\n" % NAME.encode()
    return lacking


def _write(tree: RootfsTree, path: str, data: bytes) -> None:
    tree.put(path, FileNode(stat.S_IFREG | 0o644, data=BytesData(data)))
