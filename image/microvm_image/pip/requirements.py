"""The Python packages that a recipe asks for, by name, and the files that list them.

A list may have a hostile author, such as a machine file that somebody else wrote. pip executes
lists with more rights than microvm grants them: a line can name a folder of the host that pip then
builds, or switch on builds of source code. So lists are parsed here, and pip gets only lines with
names, versions, markers and hashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from microvm import cache
from microvm.errors import UsageError
from microvm.printable import quoted

_LIMIT = 1 << 20
"""Maximum size of a list of requirements, in bytes."""

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION = r"(?:===?|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+"
_REQUIREMENT = re.compile(
    rf"{_NAME}(?:\s*\[\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\])?"
    rf"(?:\s*{_VERSION}(?:\s*,\s*{_VERSION})*)?"
    # the marker, without the characters that pip would take for a variable, comment or option
    r"(?:\s*;\s*(?:[\w\s.'\"()<>=!~,+*]|(?<!\s)-)+?)?"
    r"(?:\s+--hash[= ]sha(?:256|384|512):[0-9a-f]{64,128})*",
    re.ASCII,
)
_OWN = (
    "to use a package that no index has, build its wheel by `pip wheel --wheel-dir wheels PATH`, "
    'run `export PIP_FIND_LINKS="$PWD/wheels"`, and give the name of the package'
)
_HINTS = {
    r"-r|--requirement": "give each list to microvm, with -r",
    r"-c|--constraint": "write the versions into the list itself, such as numpy==2.3.5",
    r"-i|--index|--extra-index|--find-links|-f|--trusted|--no-index": (
        "choose an index in pip's own configuration, such as by `export PIP_INDEX_URL=…`"
    ),
    r"-e|--editable|[^-]\S*[@/]|\S+ @": _OWN,
}
"""Hints for lines that are refused, by a pattern that matches the beginning of the line."""


def check(text: str) -> str:
    """Return the requirement `text`, such as `numpy>=2`, if it names a package of an index.

    :raises UsageError: It has another form, such as a path or an option of pip.
    """
    if _REQUIREMENT.fullmatch(text) is None:
        refusal = f"{quoted(text)} is not the name of a Python package"
        raise UsageError(refusal, hint=_hint(text))
    return text


def read(path: Path) -> tuple[str, ...]:
    """Return the requirements in a file, in the format of pip's requirements files.

    :raises UsageError: The file cannot be read, or has lines that microvm does not accept.
    """
    try:
        text = cache.read(path, _LIMIT, cache.open_plain).decode()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not a text in UTF-8") from None
    found = []
    for number, line in _lines(text):
        try:
            found.append(check(line))
        except UsageError as error:
            raise UsageError(f"{path}:{number}: {error.message}", hint=error.hint) from None
    return tuple(found)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file without comments, joined at backslashes, with their numbers."""
    start, parts = 1, list[str]()
    for number, line in enumerate((*text.splitlines(), ""), 1):
        bare = re.sub(r"(?:^|\s)#.*", "", line)
        parts.append(bare.removesuffix("\\"))
        if bare.endswith("\\"):
            continue
        if joined := " ".join(" ".join(parts).split()):
            yield start, joined
        start, parts = number + 1, []


def _hint(text: str) -> str:
    for pattern, hint in _HINTS.items():
        if re.match(pattern, text):
            return hint
    return "such as numpy, 'numpy>=2' or numpy==2.3.5"
