"""The files that a recipe copies from the host into an image."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterator
from contextlib import ExitStack

from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError
from microvm_image.layer import HostData, HostLayer, Member, unreadable
from microvm_image.limits import Budget, Limits
from microvm_image.node import FileNode, Folder
from microvm_image.recipe import AddStep, Recipe
from microvm_image.tree import RootfsTree

_ADDABLE = {stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK}


class AddedFiles:
    """A file or folder of the host that is added to an image.

    The files are listed once, when the object is created. Reading a file that has changed since
    then raises an error.
    """

    def __init__(self, step: AddStep, recipe: Recipe, limits: Limits | None = None) -> None:
        """List the host's file or folder that a step of the recipe adds, with everything in it.

        :param limits: The limits for the number and the sizes of the files; by default `Limits()`.
        :raises ImageError: The source does not exist, cannot be read, is a socket or a device, or
            is beyond the limits.
        :raises UsageError: The source is outside the folders that the recipe may use.
        """
        path = recipe.path(step.source)
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
            kind = stat.S_IFMT(path.lstat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            raise ImageError(f"{step}: there is no such file or folder") from None
        except OSError as error:
            fault = unreadable(path, error)
            raise ImageError(f"{step}: {fault.message}", hint=fault.hint) from error
        if kind not in _ADDABLE:
            raise ImageError(
                f"{step}: cannot add {step.source}, which is a socket, a pipe or a device",
                hint="add a file or a folder",
            )
        self.name = str(step.source)
        self._target = step.target
        if step.target.endswith("/") and not is_folder:
            self._target += step.source.name or path.name
        layer, budget = HostLayer(path, self._target.strip("/")), Budget(limits)
        self._members: list[Member] = []
        try:
            with budget.reading(self.name), ExitStack() as files:
                for inside, member in layer.members(files, budget):
                    check_stopped()
                    if isinstance(member, FileNode) and isinstance(member.data, HostData):
                        member.data.check_readable()
                    self._members.append((inside, member))
        except ImageError as error:
            raise ImageError(f"{step}: {error.message}", hint=error.hint) from error

    def digest(self) -> str:
        """Read all files, and return the SHA-256 of their content, names, modes and owners, in hex.

        Modification times are left out, because each checkout of the same sources has other times.
        """
        digest = hashlib.sha256()
        for path, member in self._members:
            if not isinstance(member, FileNode):
                digest.update(repr((path, member)).encode())
                continue
            owner = member.mode, member.uid, member.gid
            facts = path, owner, member.device, member.target, member.xattrs, member.size
            digest.update(repr(facts).encode())
            for chunk in member.data.chunks() if member.data else ():
                digest.update(chunk)
        return digest.hexdigest()

    def add_to(self, tree: RootfsTree) -> None:
        """Add the files to the tree of an image. An existing folder keeps its other files.

        :raises ImageError: The tree has a folder where a file is to be, or a file has changed.
        """
        _, top = self._members[0]
        existing = tree.folder(self._target)
        if isinstance(top, Folder):
            if existing is None and (made := tree.folder(self._target, make=True)):
                made.mode, made.uid, made.gid = top.mode, top.uid, top.gid
                made.mtime, made.xattrs = top.mtime, top.xattrs
        elif existing is not None:
            raise ImageError(
                f"add {self.name}:{self._target}: the image has a folder at {self._target}",
                hint="with a slash at the end, a file keeps its own name in it",
            )
        tree.add(self)

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Yield the added file, or everything in the added folder, within the limits `budget`."""
        del files  # this method opens no file, because each file is opened when it is read
        for path, member in self._members:
            if isinstance(member, FileNode):
                budget.take_bytes(member.size)
            if member is not self._members[0][1] or not isinstance(member, Folder):
                yield path, member
