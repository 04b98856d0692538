"""The variables and files that can set options (presets), and a fast check whether any exist.

This module imports little, because every run of `microvm` makes the check, and most find no preset.
"""

from __future__ import annotations

import os
from pathlib import Path

NO_FILES = "MICROVM_NO_CONFIG"
"""The environment variable that disables all configuration files if it is not empty."""

VARIABLES = {
    "MICROVM_CACHE": "folder of the cache",
    "MICROVM_COMPLETE": "command line to complete; set by the completion of shells",
    "MICROVM_KERNEL": "kernel of images: a file, `small` or `debian`",
    "MICROVM_LOG": "level of the log on standard error: `info`, `debug` or `trace`",
    "MICROVM_MCP_TOKEN": "token of the clients of `microvm mcp --http`",
    "MICROVM_MIRROR": "mirror from which Alpine is downloaded",
    NO_FILES: "if not empty, configuration files are not read",
    "MICROVM_PATIENCE": "factor from 1 to 1000 for the time limits of guests, QEMU and "
    "`microvm doctor`, such as the 60 seconds of a boot; for very slow hosts",
    "MICROVM_ROOTFS": "archive of Alpine's minirootfs, or the folder that contains it",
    "MICROVM_TEMPLATES": "maximum total size of templates",
}
"""The environment variables that do not set an option, with their meaning."""

PREFIX = "MICROVM_"  # the prefix of the names of all environment variables of microvm

VERBS_WITHOUT_PRESETS = ("exec", "shell")
"""The verbs that ignore presets, because their machine may be of another project."""

PRESETS_OF = {"template make": "run"}
"""The verbs that have the presets of another verb."""

LIMIT = 1 << 20  # maximum size of a configuration file, in bytes


def project_file() -> Path | None:
    """Return the path of the nearest pyproject.toml in the current folder or above, or None."""
    try:
        here = Path.cwd()
    except OSError:  # the current folder does not exist any more, so no project's file is found
        return None
    paths = (folder / "pyproject.toml" for folder in (here, *here.parents))
    return next((path for path in paths if os.path.lexists(path)), None)


def user_file() -> Path | None:
    """Return the path of the user's configuration file, or None if the user has no home."""
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):  # noqa: PTH117 - XDG demands an absolute path
        folder = os.path.expanduser("~/.config")  # noqa: PTH111 - Path.expanduser may raise
    return Path(folder, "microvm/config.toml") if os.path.isabs(folder) else None  # noqa: PTH117


def has_table(data: bytes) -> bool:
    """Return True if the text of a pyproject.toml may contain the table `tool.microvm`.

    Also return True for a misspelled table, such as `[tool.microvm` or `[microvm]`. The file is
    then parsed and the error is reported, so that limits in it are not silently ignored.
    """
    if b"microvm" not in data:
        return False
    packed = b"\n" + data.translate(None, b" \t\"'")
    if b"[tool]" in packed or b"tool=" in packed:
        return True
    behind = (rest for head in (b"tool.microvm", b"\n[microvm") for rest in packed.split(head)[1:])
    return any(not (rest[:1].isalnum() or rest.startswith((b"-", b"_"))) for rest in behind)


def may_exist() -> bool:
    """Return False if neither a variable nor a configuration file can contain presets."""
    if any(name.startswith(PREFIX) and name not in VARIABLES for name in os.environ):
        return True
    if os.environ.get(NO_FILES):
        return False
    user, project = user_file(), project_file()
    if user is not None and os.path.lexists(user):
        return True
    return project is not None and has_table(_head(project))


def _head(path: Path) -> bytes:
    """Return the first `LIMIT` bytes of a configuration file; no bytes if it cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(descriptor, LIMIT)
        finally:
            os.close(descriptor)
    except OSError:
        return b""
