"""The file `ended.json`, which tells why a machine ended."""

from __future__ import annotations

import json
import os
import time

from microvm.supervisor.machine_directory import ENDED, MachineDirectory
from microvm.system import platform

_SIZE = 8192
# Maximum number of characters of a reason. JSON needs up to 12 bytes for a character, such as an
# emoji, so the reason fits into `_SIZE` bytes.
_MAX_REASON = 600


class EndRecord:
    """The file `ended.json`, which can be written at a machine's end even if the disk is full.

    Its space is reserved when the machine starts. Until the machine ends, the file contains only
    zeros.
    """

    def __init__(self, directory: MachineDirectory) -> None:
        """Create the file `ended.json` with reserved space; an OSError means a full disk."""
        self._file = directory.file(ENDED, os.O_WRONLY | os.O_CREAT)
        try:
            platform.reserve(self._file, _SIZE)
        except BaseException:
            os.close(self._file)
            raise

    def write(self, reason: str, *, asked: bool) -> None:
        """Write why the machine has ended and whether somebody `asked` for that; close the file."""
        if len(reason) > _MAX_REASON:
            reason = f"{reason[: _MAX_REASON - 1]}…"
        content = json.dumps({"reason": reason, "asked": asked, "at": time.time()})
        with os.fdopen(self._file, "wb") as file:
            file.write(content.encode("ascii").ljust(_SIZE - 1) + b"\n")
