"""The command `microvm`, with a list of what it imports, and a line `QEMU` where that is spawned.

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
        """Write what is imported, as it is: nothing is called at this command's end."""
        if event in ("import", "subprocess.Popen"):
            name = arguments[0] if event == "import" else SPAWNED
            os.write(listed, f"{name}\n".encode())

    sys.addaudithook(note)

    from microvm.__main__ import main

    main()
