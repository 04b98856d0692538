"""The files that a recipe adds from the host: read once, named by their content, made a layer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack

from microvm.errors import ImageError
from microvm_image.layer import HostLayer, Member
from microvm_image.limits import Budget, Limits
from microvm_image.node import FileNode, Folder
from microvm_image.recipe import AddStep, Recipe
from microvm_image.tree import RootfsTree


class AddedFiles:
    """A file or folder of the host as a layer; it must not change from now on.

    :ivar digest: the SHA-256 in hex of all that it puts into an image, and where, but for the times
        of files: the same sources have others in another checkout.
    """

    def __init__(self, step: AddStep, recipe: Recipe, limits: Limits) -> None:
        """List the file or folder that a step of the recipe names.

        :raises ImageError: it does not exist, cannot be read, or is beyond the limits.
        :raises UsageError: it is outside the folders that the recipe may use.
        """
        path = recipe.path(step.source)
        if not path.exists():
            raise ImageError(f"{step}: there is no such file or folder")
        self.name = str(step.source)
        self._target = step.target
        if step.target.endswith("/") and not path.is_dir():
            self._target += step.source.name or path.name
        with ExitStack() as files:
            layer = HostLayer(path, self._target.strip("/"))
            self._members = list(layer.members(files, Budget(limits)))
        self.digest = _digest(self._members)

    def add_to(self, tree: RootfsTree) -> None:
        """Put it into a tree: a folder's content into the folder that may be there already.

        :raises ImageError: a folder is where a file is to be, or it was changed meanwhile.
        """
        _, top = self._members[0]
        there = tree.folder(self._target)
        if isinstance(top, Folder):
            if there is None and (made := tree.folder(self._target, make=True)):
                made.mode, made.uid, made.gid = top.mode, top.uid, top.gid
                made.mtime, made.xattrs = top.mtime, top.xattrs
        elif there is not None:
            raise ImageError(
                f"{self.name}:{self._target}: a folder is there",
                hint="with a slash at the end, a file keeps its own name in it",
            )
        tree.add(self)

    def members(self, files: ExitStack, budget: Budget) -> Iterator[Member]:
        """Yield what is in the folder, or the file, as it was listed."""
        del files  # each is opened when it is read
        for path, member in self._members:
            if isinstance(member, FileNode):
                budget.take_bytes(member.size)
            if member is not self._members[0][1] or not isinstance(member, Folder):
                yield path, member


def _digest(members: list[Member]) -> str:
    digest = hashlib.sha256()
    for path, member in members:
        if not isinstance(member, FileNode):
            digest.update(repr((path, member)).encode())
            continue
        owner = member.mode, member.uid, member.gid
        facts = path, owner, member.device, member.target, member.xattrs, member.size
        digest.update(repr(facts).encode())
        for chunk in member.data.chunks() if member.data else ():
            digest.update(chunk)
    return digest.hexdigest()
