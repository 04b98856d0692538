"""The places that presets come from, and whether there is anything in them.

Hardly anything is imported here: a command looks first, and mostly there is nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

NO_FILES = "MICROVM_NO_CONFIG"
"""The variable that, set to anything, has no file read."""

VARIABLES = {
    "MICROVM_CACHE": "the folder of the cache",
    "MICROVM_COMPLETE": "what a shell asks for, which completes a line",
    "MICROVM_KERNEL": "the kernel of images: a file, or small or debian",
    "MICROVM_LOG": "how much is said on standard error: info, debug or trace",
    "MICROVM_MIRROR": "where Alpine is downloaded from",
    NO_FILES: "set to anything: no file of defaults is read",
    "MICROVM_ROOTFS": "Alpine's archive, or the folder that has it",
    "MICROVM_TEMPLATES": "how much room templates may take",
}
"""The variables that are no option's: no option is called so."""

PREFIX = "MICROVM_"
"""How all variables begin."""

WITHOUT = ("exec", "shell")
"""The verbs that take none: their machine need not be of the project that we are in."""

LIMIT = 1 << 20
"""The most bytes that a file may have."""


def of_project() -> Path | None:
    """Return the nearest pyproject.toml upwards; None where there is none."""
    try:
        here = Path.cwd()
    except OSError:  # it has been removed
        return None
    paths = (folder / "pyproject.toml" for folder in (here, *here.parents))
    return next((path for path in paths if os.path.lexists(path)), None)


def of_user() -> Path | None:
    """Return where the user's own file is, there or not; None where there is no home."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # noqa: PTH117 - then it is ignored: XDG Base Directory
        folder = os.path.expanduser("~/.config")  # noqa: PTH111 - which raises nothing
    return Path(folder, "microvm/config.toml") if os.path.isabs(folder) else None  # noqa: PTH117


def has_table(data: bytes) -> bool:
    """Tell whether a project's file may contain our table, `tool.microvm`.

    Return True also for a miswritten table, such as `[tool.microvm` or `[microvm]`, because the
    limits in it must not be ignored silently.
    """
    if b"microvm" not in data:
        return False
    packed = b"\n" + data.translate(None, b" \t\"'")
    if b"[tool]" in packed or b"tool=" in packed:
        return True
    behind = (rest for head in (b"tool.microvm", b"\n[microvm") for rest in packed.split(head)[1:])
    return any(not (rest[:1].isalnum() or rest.startswith((b"-", b"_"))) for rest in behind)


def any_there() -> bool:
    """Tell whether a variable or a file may say anything of an option."""
    if any(name.startswith(PREFIX) and name not in VARIABLES for name in os.environ):
        return True
    if os.environ.get(NO_FILES):
        return False
    user, project = of_user(), of_project()
    if user is not None and os.path.lexists(user):
        return True
    return project is not None and has_table(_head(project))


def _head(path: Path) -> bytes:
    """Return as much of a file as may be read of it; nothing where that cannot be."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(descriptor, LIMIT)
        finally:
            os.close(descriptor)
    except OSError:
        return b""
