"""The launcher, run directly, and what it says of each layer."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "host/confine"

#: What a program of this system needs to be executed.
SYSTEM = [word for path in ("/usr", "/lib", "/lib64", "/bin") for word in ("--read", path)]


@dataclass(frozen=True)
class Confined:
    """What came of a launch.

    :ivar status: the lines of the status, but for that of the pid.
    :ivar pid: the program's pid; 0 where there never was a process for it.
    :ivar code: how it ended, as `subprocess` gives it: of the launcher where the pid is 0.
    """

    status: Sequence[str]
    pid: int
    code: int
    output: str
    layers: Mapping[str, bool] = field(default_factory=dict)

    @property
    def failure(self) -> str:
        """What the last line says after `failed`; empty when the program was executed."""
        word, _, rest = (self.status[-1] if self.status else "").partition(" ")
        return rest if word == "failed" else ""


def build(folder: Path, target: str = "all", cc: str = "musl-gcc") -> Path:
    """Compile the launcher into a folder."""
    command = ["make", "-s", "-C", str(SOURCE), target, f"OUT={folder}", f"CC={cc}"]
    subprocess.run(command, check=True, timeout=120)
    return folder / "confine"


def confined(
    launcher: Path,
    options: Sequence[str | Path],
    program: Sequence[str | Path],
    *,
    prefix: Sequence[str] = (),
    descriptors: Sequence[int] = (),
    said: bool = True,
) -> Confined:
    """Run a program by the launcher until it ends.

    :param prefix: a command that becomes the launcher.
    :param said: whether there is a descriptor for the status.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        status = ["--status", str(theirs.fileno())] if said else []
        process = subprocess.Popen(
            [
                *prefix,
                launcher,
                "--controller",
                str(os.getpid()),
                *status,
                *options,
                "--",
                *program,
            ],
            pass_fds=(theirs.fileno(), *descriptors),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            errors="replace",
        )
        theirs.close()
        with ours.makefile() as stream:
            lines = stream.read().splitlines()
    output, _ = process.communicate(timeout=60)
    code, pid = process.returncode, 0
    if lines and lines[0].startswith("pid "):
        pid = int(lines.pop(0).split()[1])
        assert code == 0
        _, waited = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(waited)
    layers = {line.split()[0]: line.split()[1] == "ok" for line in lines if "failed" not in line}
    return Confined(lines, pid, code, output, layers)
