"""Finds the file of a module that a program could not import, because it is only on the host."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

_MISSING = re.compile(r"^ModuleNotFoundError: No module named '(.*?)[.']", re.MULTILINE)


def hint(errors: bytes, folder: Path) -> str:
    """Return a hint to copy a missing module into the machine, or "" if the host lacks it, too.

    :param errors: End of the standard error of a program that has failed.
    :param folder: Folder of the host in which `python3` would search for the program's modules.
    """
    *_, name = "", *_MISSING.findall(errors.decode(errors="replace"))
    if not name.isidentifier():
        return ""
    paths = (folder / f"{name}.py", folder / name)
    # `Path.exists` raises an error for a name that is too long for a file.
    found = next((path for path in paths if os.path.exists(path)), None)  # noqa: PTH110
    if found is None:
        return ""
    return (
        f"{found} exists on this host, but a machine sees no files of the host: copy it with "
        f"--copy {shlex.quote(str(found))}"
    )
