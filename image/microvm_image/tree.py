"""Merges layers into a root file system in memory. The content of files stays in the layers.

A layer may be hostile, so nothing is written to the paths in it. A path is followed within the tree
in memory, as the guest would follow it, so links lead only to paths in the tree. Whiteouts have the
form of OCI: `.wh.NAME` removes the file NAME, and `.wh..wh..opq` removes everything that lower
layers have in a folder (image-spec, layer.md).
"""

from __future__ import annotations

import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Self

from microvm import cache
from microvm.cpio import HEADER, CpioEntry, encoded
from microvm.errors import ImageError
from microvm_image.layer import Layer
from microvm_image.limits import ATTRIBUTE, NAME_MAX, PATH_MAX, Budget, Limits
from microvm_image.node import FileData, FileNode, Folder, HardLink, Way, joined

SMALL = 16 << 20
"""Maximum size in bytes of a root file system that is put into the initramfs. A larger root file
system is put into a disk."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# prefix of the files of the file system aufs in old layers of docker, which are ignored
_AUFS = ".wh..wh."
_LINKS = 40  # maximum number of symbolic links in one path, as in Linux


class RootfsTree:
    """A root file system in memory. The files of its layers stay open until it is closed."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._budget = Budget(limits)
        self._root = Folder(stat.S_IFDIR | 0o755)
        self._files = ExitStack()
        # The files that the current layer has added. Each is a pair: the `id()` of the object of
        # its folder, and the name of the file. A whiteout of the same layer keeps these files.
        self._upper: set[tuple[int, str]] = set()
        # The ids of the folder objects from which the current layer has removed all files of lower
        # layers.
        self._opaque: set[int] = set()
        self._layers = 0

    def __enter__(self) -> Self:
        """Return the tree itself. The tree is closed when the `with` block ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the files of all layers, so the contents of files cannot be read any more."""
        self._files.close()

    def add(self, layer: Layer) -> None:
        """Add the files of a layer to the tree, and apply its whiteouts to the lower layers.

        :raises ImageError: The layer is damaged, leads out of the root, or exceeds the limits. The
            tree cannot be used afterwards.
        """
        self._upper.clear()
        self._opaque.clear()
        self._layers += 1
        if self._layers > self._budget.limits.layers:
            raise ImageError(
                f"{layer.name}: more than {self._budget.limits.layers} layers",
                hint="if it can be trusted, raise the limit `layers`: --limit layers=…",
            )
        with cache.disk_errors(), self._budget.reading(layer.name):
            for path, member in layer.members(self._files, self._budget):
                try:
                    self._place(path, member)
                except _PathError as error:
                    raise ImageError(
                        f"{layer.name}: {path!r}: {error}",
                        hint="an image cannot contain it: leave it out, or use another source",
                    ) from None

    def file(self, path: str) -> FileData | None:
        """Return the content of the file at a path, following links; None if no file exists.

        :raises ImageError: The path is invalid, or leads out of the root.
        """
        try:
            found = self.find("/".join(_parts(path)))
        except _PathError as error:
            raise ImageError(f"{path!r}: {error}") from None
        return found[1].data if found else None

    def find(self, path: str) -> tuple[str, FileNode] | None:
        """Return the file at a path, following links, and the path to which the links lead.

        The path may begin with a slash and contain `..`. If no file exists, return None.
        """
        try:
            for _ in range(_LINKS):
                above, _, name = path.rpartition("/")
                node = self._follow(above.split("/")).children.get(name)
                if node is None or not stat.S_ISLNK(node.mode):
                    return (path, node) if node else None
                path = posixpath.join(above or "/", node.target)
        except _NotThereError:
            return None
        except _PathError as error:
            raise ImageError(f"{path!r}: {error}") from None
        return None

    def folder(self, path: str, *, make: bool = False) -> Folder | None:
        """Return the folder at a path, following links. With `make`, create it if it is missing.

        :param path: The path from the root, with or without a leading slash.
        :return: The folder; None if it does not exist and `make` is false.
        :raises ImageError: The path is invalid, or leads to something else.
        """
        try:
            return self._follow(_parts(path.lstrip("/")), make=make)
        except _NotThereError:
            return None
        except _PathError as error:
            raise ImageError(f"{path!r}: {error}") from None

    def put(self, path: str, node: FileNode) -> None:
        """Add a file at a path from the root, in place of any other file at that path.

        :raises ImageError: The path is invalid, or the tree exceeds the limits.
        """
        try:
            self._place(path, node)
        except _PathError as error:
            raise ImageError(f"{path!r}: {error}") from None

    def walk(self) -> Iterator[tuple[str, FileNode]]:
        """Yield the root folder as "", and all files and folders with their paths.

        Immediately after a folder follows its content, sorted by the bytes of the names.

        :raises ImageError: A path is too long.
        """
        for way, node in self._walk():
            yield _path(way), node

    def _walk(self) -> Iterator[tuple[Way, FileNode]]:
        """Yield each file and folder with its path, as nested tuples to save memory."""
        yield None, self._root
        stack: list[tuple[Way, Iterator[tuple[str, FileNode]]]] = [(None, _sorted(self._root))]
        while stack:
            above, children = stack[-1]
            if (child := next(children, None)) is None:
                stack.pop()
                continue
            name, node = child
            way: Way = above, name
            yield way, node
            if isinstance(node, Folder):
                stack.append((way, _sorted(node)))

    def is_small(self) -> bool:
        """Return True if the tree is small and simple enough to be stored in an initramfs.

        A simple tree has no devices, hard links or extended attributes.
        """
        size = 0
        files: set[int] = set()
        for path, node in self.walk():
            size += HEADER + len(path) + node.size
            if size > SMALL or node.xattrs or node.is_device or id(node) in files:
                return False
            files.add(id(node))
        return True

    def entries(self) -> Iterator[CpioEntry]:
        """Yield the files and folders for an initramfs, with copies instead of hard links.

        Devices are left out.
        """
        for path, node in self.walk():
            if node.is_device:
                continue  # leave devices out, because the guest creates its own devices
            data = b"".join(node.data.chunks()) if node.data else encoded(node.target)
            yield CpioEntry(path or ".", node.mode, data, node.uid, node.gid)

    def write_tar(self, write: Callable[[bytes], object]) -> None:
        """Pass the tree as a tar archive to `write`, in pieces. The same tree gives the same bytes.

        :raises ImageError: A file of the host has changed.
        """
        # the first path of each file, by the id of its object; later paths are hard links to it
        first: dict[int, Way] = {}
        for way, node in self._walk():
            info = _info(_path(way), node)
            data = node.data
            if not isinstance(node, Folder):
                known = first.setdefault(id(node), way)
                if known is not way:
                    info.type, info.linkname, info.size = tarfile.LNKTYPE, _path(known), 0
                    info.pax_headers, data = {}, None
            write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
            if data:
                for chunk in data.chunks():
                    write(chunk)
                write(bytes(-data.size % tarfile.BLOCKSIZE))
        write(bytes(2 * tarfile.BLOCKSIZE))

    def _place(self, path: str, member: FileNode | HardLink) -> None:
        target = member.target
        xattrs = member.xattrs if isinstance(member, FileNode) else ()
        attributes = sum(ATTRIBUTE + len(name) + len(value) for name, value in xattrs)
        self._budget.take_member(len(path) + len(target) + attributes)
        if len(encoded(target)) >= PATH_MAX or "\0" in target:
            raise _PathError("a link's target is too long, or has a NUL in it")
        if isinstance(member, FileNode) and stat.S_IFMT(member.mode) not in _TYPES:
            raise _PathError("a file of a type that does not exist")
        parts = _parts(path)
        if any(part.startswith(_AUFS) and part != _OPAQUE for part in parts):
            return
        if not parts:
            if not isinstance(member, Folder):
                raise _PathError("the root is no folder")
            _describe(self._root, member)
            return
        *above, name = parts
        if any(part.startswith(_WHITEOUT) for part in above):
            raise _PathError("a whiteout is no folder")
        if name.startswith(_WHITEOUT):
            self._white_out(above, name)
            return
        node = self._linked(member) if isinstance(member, HardLink) else member
        folder = self._follow(above, make=True)
        existing = folder.children.get(name)
        if isinstance(node, Folder) and isinstance(existing, Folder):
            _describe(existing, node)
        else:
            folder.children[name] = node
        self._upper.add((id(folder), name))

    def _linked(self, link: HardLink) -> FileNode:
        *above, name = _parts(link.target) or ("",)
        with suppress(_NotThereError):
            node = self._follow(above).children.get(name)
            if isinstance(node, Folder):
                raise _PathError(f"a hard link to a folder: {link.target!r}")
            if node:
                return node
        raise _PathError(f"a hard link to nothing: {link.target!r}")

    def _follow(self, parts: Sequence[str], *, make: bool = False) -> Folder:
        """Return the folder at a path, following links as the guest would. With `make`, create it.

        :param parts: The names in the path.
        """
        way = [self._root]
        remaining = [*reversed(parts)]
        self._budget.take_steps(len(remaining))
        links = 0
        while remaining:
            part = remaining.pop()
            if part in {"", "."}:
                continue
            if part == "..":
                del way[max(1, len(way) - 1) :]
                continue
            parent = way[-1]
            node = parent.children.get(part)
            if node is None:
                if not make:
                    raise _NotThereError
                self._budget.take_member(len(part))
                node = parent.children[_checked(part)] = Folder(stat.S_IFDIR | 0o755)
            if isinstance(node, Folder):
                if make:
                    self._upper.add((id(parent), part))
                way.append(node)
                self._budget.check_depth(len(way))
            elif stat.S_ISLNK(node.mode):
                links += 1
                if links > _LINKS:
                    raise _PathError("too many symbolic links on its way")
                if node.target.startswith("/"):
                    del way[1:]
                target = node.target.split("/")
                self._budget.take_steps(len(target))
                remaining += reversed(target)
            elif make:
                raise _PathError(f"it lies in {part!r}, which is no folder")
            else:
                raise _NotThereError
        return way[-1]

    def _white_out(self, above: Sequence[str], name: str) -> None:
        hidden = name.removeprefix(_WHITEOUT)
        if hidden in {"", ".", ".."}:
            raise _PathError("a whiteout of no name")
        with suppress(_NotThereError):
            folder = self._follow(above)
            if name == _OPAQUE:
                self._remove_lower(folder)
            elif hidden in folder.children:
                self._remove(folder, hidden)

    def _remove_lower(self, folder: Folder) -> None:
        """Remove from a folder everything that layers below the current one have put there.

        Files that are added later are from the current layer, so a second call has nothing to do.
        """
        if id(folder) in self._opaque:
            return
        self._opaque.add(id(folder))
        for name in list(folder.children):
            self._remove(folder, name)

    def _remove(self, folder: Folder, name: str) -> None:
        """Remove a file, or a folder with its content, unless the current layer has added it.

        In a folder from the current layer, everything from lower layers is removed.
        """
        node = folder.children[name]
        if (id(folder), name) not in self._upper:
            del folder.children[name]
        elif isinstance(node, Folder):
            self._remove_lower(node)


class _PathError(Exception):
    """Raised if a path in a layer is invalid."""


class _NotThereError(Exception):
    """Raised if no file exists at a path."""


def _path(way: Way) -> str:
    """Convert a path to text, and check its length."""
    path = joined(way)
    if len(encoded(path)) >= PATH_MAX:
        raise ImageError(f"a path is too long: {path[:64]}...")
    return path


def _sorted(folder: Folder) -> Iterator[tuple[str, FileNode]]:
    """Yield each file and folder in a folder with its name, sorted by the bytes of the names."""
    for name in sorted(folder.children, key=encoded):
        yield name, folder.children[name]


def _parts(path: str) -> list[str]:
    if path.startswith("/"):
        raise _PathError("an absolute path leads out of the root")
    parts = [_checked(part) for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise _PathError("the path leads out of the root")
    if len(encoded(path)) >= PATH_MAX:
        raise _PathError("the path is too long")
    return parts


def _checked(name: str) -> str:
    if "\0" in name or len(encoded(name)) > NAME_MAX:
        raise _PathError("a name is too long, or has a NUL in it")
    return name


def _describe(existing: FileNode, node: FileNode) -> None:
    """Copy the mode, owner, time and attributes of the folder `node` to the folder `existing`."""
    existing.mode, existing.uid, existing.gid = node.mode, node.uid, node.gid
    existing.mtime, existing.xattrs = node.mtime, node.xattrs


def _info(path: str, node: FileNode) -> tarfile.TarInfo:
    info = tarfile.TarInfo(path or ".")
    info.mode = stat.S_IMODE(node.mode)
    info.uid, info.gid, info.mtime, info.size = node.uid, node.gid, node.mtime, node.size
    info.type = _TYPES[stat.S_IFMT(node.mode)]
    info.linkname = node.target
    info.devmajor, info.devminor = node.device
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in node.xattrs
    }
    return info


_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
