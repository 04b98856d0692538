"""A process that starts QEMU, or a program in its place, and does not communicate with it.

python -m tests.confinement.launched FOLDER

It prints the pid and the output of the launcher as a line of JSON, and runs until its standard
input ends.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.confinement.attacker import DEADLINE, said_by

from microvm.arches import native
from microvm.qemu.command_line import Memory, QemuConfig
from microvm.qemu.launch import launch


def main(folder: Path) -> None:
    """Start QEMU as a clone of a template, a file of this folder, with a writable disk."""
    with ExitStack() as stack:
        template = os.open(folder / "template", os.O_RDONLY | os.O_CLOEXEC)
        state = os.memfd_create("state", os.MFD_CLOEXEC)
        disk = stack.enter_context(tempfile.TemporaryFile()).fileno()
        os.truncate(disk, 1 << 20)
        config = QemuConfig(
            kernel=folder / "template",
            initramfs=folder / "other",
            bus="mmio",
            accel="tcg",
            arch=native(),
            scratch=1 << 20,
        )
        launched = launch(config, Memory(template, state, saved=True, scratch=disk))
        stack.callback(launched.kill)
        launched.stderr.settimeout(DEADLINE)
        said = said_by(launched.stderr)
        print(json.dumps([launched.child.pid, said]), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
