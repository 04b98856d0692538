"""The command `microvm`, with a list of its imports, and a line `QEMU` where it spawns QEMU.

python imports.py LIST ARGUMENT…
"""

from __future__ import annotations

import os
import sys
from typing import Any

SPAWNED = "QEMU"

if __name__ == "__main__":
    listed = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        """Write each import at once, because this command ends without exit handlers."""
        if event in ("import", "subprocess.Popen"):
            name = arguments[0] if event == "import" else SPAWNED
            os.write(listed, f"{name}\n".encode())

    sys.addaudithook(note)

    from microvm.__main__ import main

    main()
