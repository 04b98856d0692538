"""Patterns of files that are left out of a copy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

from microvm.errors import UsageError


class Exclusion:
    """The files and folders that match one of several patterns."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile shell patterns, in which `*` also matches slashes.

        A pattern with a slash has to match the whole path of a file, relative to the copied folder.
        Such a pattern may begin with `./`. Any other pattern has to match the name of a file or
        folder. A slash at the end of a pattern has no effect.

        :raises UsageError: If the patterns are no list of texts, or one can match no file.
        """
        if isinstance(patterns, str) or not all(isinstance(each, str) for each in patterns):
            raise UsageError("exclude has to be a list of patterns, such as ['.git', '*.pyc']")
        self._patterns = [pattern.rstrip("/") for pattern in patterns]
        self._paths = _compiled(_path(each) for each in self._patterns if "/" in each)
        self._names = _compiled(_path(each) for each in self._patterns if "/" not in each)

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def matches(self, path: str) -> bool:
        """Return True if a file is left out; `path` is relative to the copied folder."""
        return bool(self._names.match(path.rpartition("/")[2]) or self._paths.match(path))


def _path(pattern: str) -> str:
    """Return a pattern without its leading `./`."""
    path = pattern.removeprefix("./")
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise UsageError(
            f"exclude: {pattern!r} matches no file; a pattern is a name such as '.git', or a path "
            "relative to the copied folder such as 'build/*.o'"
        )
    return path


def _compiled(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)) or "(?!)")  # `(?!)` matches no text


NOTHING = Exclusion(())
