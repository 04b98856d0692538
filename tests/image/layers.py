"""Layers for tests: tar archives of a few members, and the content of the resulting tree."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from microvm_image.compression import spooled
from microvm_image.file_range import FileRange
from microvm_image.layer import TarLayer
from microvm_image.limits import Limits
from microvm_image.node import Folder
from microvm_image.tree import RootfsTree

KINDS = {
    "folder": tarfile.DIRTYPE,
    "link": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "char": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


@dataclass(frozen=True)
class LayerMember:
    """A member of an archive: `kind` is one of `KINDS`; by default a file with data."""

    name: str
    data: bytes = b""
    kind: str = "file"
    target: str = ""
    attributes: tuple[tuple[str, Any], ...] = ()


def file(name: str, data: bytes = b"", **attributes: Any) -> LayerMember:
    return LayerMember(name, data, attributes=tuple(attributes.items()))


def folder(name: str, **attributes: Any) -> LayerMember:
    return LayerMember(name, kind="folder", attributes=tuple(attributes.items()))


def link(name: str, target: str) -> LayerMember:
    return LayerMember(name, kind="link", target=target)


def hard(name: str, target: str) -> LayerMember:
    return LayerMember(name, kind="hard", target=target)


def tar(*parts: LayerMember, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002 -- tarfile's name
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=format, encoding="utf-8", errors="surrogateescape"
    ) as archive:
        for part in parts:
            info = tarfile.TarInfo(part.name)
            info.type = KINDS.get(part.kind, tarfile.REGTYPE)
            info.mode = 0o755 if part.kind == "folder" else 0o644
            info.linkname, info.size = part.target, len(part.data)
            for name, value in part.attributes:
                setattr(info, name, value)
            archive.addfile(info, io.BytesIO(part.data))
    return out.getvalue()


def layer(data: bytes, **options: Any) -> TarLayer:
    def open_spool(files: ExitStack) -> FileRange:
        return spooled(iter([data]), files)

    return TarLayer("layer", open_spool, **options)


def content(*layers: bytes, limits: Limits | None = None) -> dict[str, str]:
    """Return the content of a tree of layers, by path: `/`, `-> TARGET`, or the text of a file."""
    with RootfsTree(limits) as tree:
        for data in layers:
            tree.add(layer(data))
        return shown(tree)


def shown(tree: RootfsTree) -> dict[str, str]:
    found = {}
    for path, node in tree.walk():
        if path and isinstance(node, Folder):
            found[path] = "/"
        elif stat.S_ISLNK(node.mode):
            found[path] = f"-> {node.target}"
        elif path:
            found[path] = joined(node.data.chunks()) if node.data else stat.filemode(node.mode)[0]
    return found


def joined(chunks: Iterable[bytes]) -> str:
    return b"".join(chunks).decode()
