"""The configuration of the small kernel: the options that differ from `make allnoconfig`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from microvm.arches import Arch
from microvm.errors import ImageError

FOLDER = Path(__file__).with_name("fragments")

_SET = re.compile(r"(CONFIG_\w+)=(\S.*)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")

Options = Mapping[str, str | None]
"""Values of kernel options by name, as Kconfig writes them: `y`, `64`, `"text"`; None if unset."""


def fragment(arch: Arch) -> str:
    """Return the text of the kernel options for an architecture, in the format of `.config`.

    The text contains the options for all architectures, and those for this architecture.

    :raises ImageError: The file with the options is missing.
    """
    try:
        return "\n".join((FOLDER / f"{name}.config").read_text() for name in ("common", arch.name))
    except OSError as error:
        raise ImageError(
            f"{error.filename}: {error.strerror}", hint="install microvm again"
        ) from error


def parse(text: str) -> dict[str, str | None]:
    """Return the kernel options in a text that has the format of `.config`.

    :raises ImageError: A line is neither an option nor a comment, or an option occurs twice.
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
            raise ImageError(f"{name} occurs twice in the kernel's configuration")
        options[name] = value
    return options


def check(wanted: Options, made: Options) -> None:
    """Check that the kernel's configuration `made` has the value of every option in `wanted`.

    Kconfig silently ignores an option if the options on which it depends are not set.

    :param made: The options in the configuration that Kconfig has made.
    :raises ImageError: At least one option differs; the message names all that differ.
    """
    different = (name for name, value in wanted.items() if made.get(name) != value)
    if wrong := [f"{name}={wanted[name] or 'n'}" for name in different]:
        raise ImageError(
            f"this kernel source does not accept {', '.join(wrong)}",
            hint="their dependencies have changed: change the fragments of the configuration",
        )
