"""The configuration of our own kernel: fragments on top of `allnoconfig`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from microvm.arches import Arch
from microvm.errors import ImageError

FOLDER = Path(__file__).with_name("fragments")

_SET = re.compile(r"(CONFIG_\w+)=(\S.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")

Options = Mapping[str, str | None]
"""Values by the options' names, as Kconfig writes them: `y`, `64`, `"text"`; None is not set."""


def fragment(arch: Arch) -> str:
    """Return the fragment for an architecture: what all have, and what is its own.

    :raises ImageError: it is not there.
    """
    try:
        return "\n".join((FOLDER / f"{name}.config").read_text() for name in ("common", arch.name))
    except OSError as error:
        raise ImageError(
            f"{error.filename}: {error.strerror}", hint="install microvm again"
        ) from error


def parse(text: str) -> dict[str, str | None]:
    """Read a fragment or a whole `.config`.

    :raises ImageError: a line is neither an option nor a comment, or an option stands twice.
    """
    options: dict[str, str | None] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        if found := _SET.fullmatch(line):
            name, value = found[1], found[2]
        elif found := _UNSET.fullmatch(line):
            name, value = found[1], None
        elif line.startswith("#"):
            continue
        else:
            raise ImageError(f"not a line of a kernel's configuration: {line!r}")
        if name in options:
            raise ImageError(f"{name} stands twice in the kernel's configuration")
        options[name] = value
    return options


def check(wanted: Options, made: Options) -> None:
    """Check that Kconfig, which drops what it cannot satisfy, has taken every option.

    :raises ImageError: it has not; the message names all that differ.
    """
    if wrong := list(_differences(wanted, made)):
        raise ImageError(
            f"this kernel source does not take {', '.join(wrong)}",
            hint="their dependencies are others there; the fragments are to follow",
        )


def _differences(wanted: Options, made: Options) -> Iterator[str]:
    for name, value in wanted.items():
        if made.get(name) != value:
            yield f"{name}={value or 'n'}"
