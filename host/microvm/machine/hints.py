"""The hints for who names a command, a file or a folder that is elsewhere, not in the guest."""

from __future__ import annotations

from errno import ENOENT
from os import fsdecode
from pathlib import Path

from microvm.errors import StartError
from microvm.images import readymade
from microvm.options import Text


def about(error: StartError, command: Text, cwd: object, copier: str) -> str:
    """Return what to do about a command that could not be started; empty if nobody knows.

    :param cwd: its working directory, as it was given.
    :param copier: what puts files of this host into the guest.
    """
    if error.errno != ENOENT:
        return ""
    if error.stage == "lookup":
        name = readymade.having(fsdecode(command))
        return f"`microvm run --image {name} -- {fsdecode(command)} …` has it" if name else ""
    path = {"exec": command, "chdir": cwd}.get(error.stage)
    if not isinstance(path, str | bytes | Path) or not path or not Path(fsdecode(path)).exists():
        return ""
    return f"here there is one, but a guest has none of our files: {copier} puts it there"
