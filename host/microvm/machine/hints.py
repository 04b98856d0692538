"""Hints for a missing command or path that exists on the host or in another image."""

from __future__ import annotations

from errno import ENOENT
from os import fsdecode
from pathlib import Path

from microvm.errors import StartError
from microvm.images import readymade
from microvm.options import Text


def about(error: StartError, command: Text, cwd: object, copier: str) -> str:
    """Return a hint for a missing `command` or folder `cwd`, such as to copy it with `copier`.

    If no hint is known, return "".

    :param copier: Text that names the option or the method for copying files into the guest.
    """
    if error.errno != ENOENT:
        return ""
    if error.stage == "lookup":
        shown = fsdecode(command)
        name = readymade.having(shown)
        return f"the image {name} has it: `microvm run --image {name} -- {shown} …`" if name else ""
    path = {"exec": command, "chdir": cwd}.get(error.stage)
    if not isinstance(path, str | bytes | Path) or not path or not Path(fsdecode(path)).exists():
        return ""
    return f"it exists on this host, but a guest sees no files of the host: copy it with {copier}"
