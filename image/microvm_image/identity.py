"""The name of a guest, in the files that programs read it from."""

from __future__ import annotations

import stat
from contextlib import suppress

from microvm.errors import ImageError
from microvm_image.node import Bytes, Node
from microvm_image.tree import Tree

NAME = "microvm"
"""The host name of every guest; guest/boot.c sets it in the kernel."""

_HOSTNAME = "etc/hostname"
_HOSTS = "etc/hosts"
_HOSTS_LIMIT = 4 << 20  # bytes that are read of an image's own file


def settle(tree: Tree) -> None:
    """Make /etc/hostname and /etc/hosts agree with the guest's name, whatever layers say of it.

    An image's own /etc/hosts keeps its lines, and gets those of `localhost` and of the name if it
    lacks them. If it has more than 4 MiB, it stays as it is.

    :raises ImageError: the tree is beyond the limits.
    """
    try:
        tree.folder("etc", make=True)
    except ImageError:
        return  # an image whose /etc is no folder has no program that reads these files
    if _content(tree, _HOSTNAME) != f"{NAME}\n".encode():
        _write(tree, _HOSTNAME, f"{NAME}\n".encode())
    hosts = _content(tree, _HOSTS)
    if hosts is not None and (lacking := _lacking(hosts)):
        end = b"\n" if hosts and not hosts.endswith(b"\n") else b""
        _write(tree, _HOSTS, hosts + end + lacking)


def _content(tree: Tree, path: str) -> bytes | None:
    """Return the content of a file; nothing if there is no file, None if it has too much."""
    data = None
    with suppress(ImageError):  # a link that leads round in circles
        data = tree.file(path)
    if data is None:
        return b""
    return b"".join(data.chunks()) if data.size <= _HOSTS_LIMIT else None


def _lacking(hosts: bytes) -> bytes:
    """Return the lines that a text of /etc/hosts lacks."""
    lines = [line.partition(b"#")[0].split() for line in hosts.splitlines()]
    named = {name for line in lines for name in line[1:]}
    lacking = b""
    if b"localhost" not in named:
        lacking += b"127.0.0.1\tlocalhost\n::1\tlocalhost\n"
    if NAME.encode() not in named:
        lacking += b"127.0.0.1\t%b\n" % NAME.encode()
    return lacking


def _write(tree: Tree, path: str, data: bytes) -> None:
    tree.put(path, Node(stat.S_IFREG | 0o644, data=Bytes(data)))
