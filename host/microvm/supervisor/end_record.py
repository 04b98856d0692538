"""The last words of a machine, why it ended, which have their room from the beginning."""

from __future__ import annotations

import json
import os
import time

from microvm.supervisor.machine_directory import ENDED, MachineDirectory

_ROOM = 4096
_LONGEST = 600  # characters of a reason, each of which takes six bytes at most


class EndRecord:
    """The file `ended.json`, which says nothing until the end, when the disk may be full."""

    def __init__(self, directory: MachineDirectory) -> None:
        """Make it.

        :raises OSError: there is no room.
        """
        self._file = directory.file(ENDED, os.O_WRONLY | os.O_CREAT)
        try:
            os.posix_fallocate(self._file, 0, _ROOM)
        except BaseException:
            os.close(self._file)
            raise

    def write(self, reason: str, *, asked: bool) -> None:
        """Say why the machine has ended, and close the file.

        :raises OSError: it cannot be written, after all.
        """
        if len(reason) > _LONGEST:
            reason = f"{reason[: _LONGEST - 1]}…"
        words = json.dumps({"reason": reason, "asked": asked, "at": time.time()})
        with os.fdopen(self._file, "wb") as file:
            file.write(words.encode("ascii").ljust(_ROOM - 1) + b"\n")
