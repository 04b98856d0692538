"""Patterns of paths in the guest, such as `out/*.csv`.

The guest expands a pattern, because it can read its folders quickly. It may be hostile, so the host
checks that each path that the guest returns matches the pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from errno import EBADMSG, ENOENT
from fnmatch import fnmatchcase

from microvm.errors import FileError, UsageError
from microvm.options import to_bytes

_SPECIAL = re.compile(rb"[*?[]")
_DEEP = "**"


def is_pattern(path: object) -> bool:
    """Return True if a path contains a special character of patterns: `*`, `?` or `[`."""
    return _SPECIAL.search(to_bytes(path)) is not None


def check(path: object) -> None:
    """Check a path that may be a pattern.

    :raises UsageError: If it is an invalid pattern.
    """
    if is_pattern(path):
        Pattern.parse(path)


def no_match(pattern: str) -> FileError:
    """Return the error for a pattern that matches no file."""
    return FileError(ENOENT, pattern, f"{pattern}: no file in the guest matches this pattern")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of paths.

    :ivar base: Path of the folder before the first component with special characters.
    :ivar components: The other components. `**` matches any number of folders.
    :ivar needs_folder: True if the pattern ends with a slash, so it matches only folders.
    """

    base: str
    components: tuple[str, ...]
    needs_folder: bool

    @classmethod
    def parse(cls, text: object) -> Pattern:
        """Return the pattern that a user has written.

        :raises UsageError: If there is no component, or `..` follows special characters.
        """
        path = _decoded(to_bytes(text))
        special = _SPECIAL.search(to_bytes(text))
        start = len(_decoded(to_bytes(text)[: special.start()])) if special else len(path)
        cut = path.rfind("/", 0, start) + 1
        components: list[str] = []
        for each in path[cut:].split("/"):
            if each == "..":
                raise UsageError(f"{path}: a pattern has no .. after *, ? or [")
            is_repeated = each == _DEEP and components[-1:] == [_DEEP]
            if each not in ("", ".") and not is_repeated:
                components.append(each)
        if not components:
            raise UsageError(f"{path!r} names no file")
        return cls(path[:cut], tuple(components), path.endswith("/"))

    @property
    def text(self) -> bytes:
        """The components as the guest's program for files reads them."""
        return "/".join(self.components).encode("utf-8", "surrogateescape")

    def path_of(self, sent: bytes) -> str:
        """Check the path of a file that the guest has sent, and return it together with the base.

        :param sent: Path relative to the base.
        :raises FileError: If the path does not match the pattern.
        """
        path = _decoded(sent)
        names = path.split("/")
        if not {"", ".", ".."}.isdisjoint(names) or not self._matches(names):
            message = f"{self}: the guest sent {path!r}, which does not match"
            raise FileError(EBADMSG, str(self), message)
        return self.base + path

    def __str__(self) -> str:
        return self.base + "/".join(self.components)

    def _matches(self, names: list[str]) -> bool:
        """Compare the components of a path with this pattern.

        The function keeps the set of all numbers of components that can match the names so far. So
        its time is limited, whatever path the guest has sent.
        """
        last = len(self.components) - 1
        reached = self._skipped({0})
        for name in names:
            following = set()
            for at in reached - {last + 1}:
                component = self.components[at]
                if component == _DEEP and not name.startswith("."):
                    following |= {at, at + 1} if at == last else {at}
                elif _fits(name, component):
                    following.add(at + 1)
            reached = self._skipped(following)
        return last + 1 in reached

    def _skipped(self, reached: set[int]) -> set[int]:
        """Add the numbers that are reached if `**`, except at the end, matches no folder."""
        inner = self.components[:-1]
        return reached | {at + 1 for at in reached if inner[at : at + 1] == (_DEEP,)}


def _fits(name: str, component: str) -> bool:
    is_hidden = name.startswith(".") and not component.startswith(".")
    return not is_hidden and fnmatchcase(name, component)


def _decoded(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
