"""Helpers that run the launcher directly, and parse the status that it reports."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2] / "host/confine"

#: # Folders that a program of this system needs in order to start.
SYSTEM = [word for path in ("/usr", "/lib", "/lib64", "/bin") for word in ("--read", path)]

#: Parts of the launcher's error messages.
USAGE = "the usage is confine [OPTION VALUE]... -- PROGRAM [ARGUMENT]..."
NO_CONTROLLER = "cannot find the controller: the process that started the launcher has exited"


@dataclass(frozen=True)
class Confined:
    """Result of a launch.

    :ivar status: lines of the status, except the line with the pid.
    :ivar pid: pid of the program; 0 if the launcher started no process for it.
    :ivar code: return code, as `subprocess` reports it: of the launcher if the pid is 0, else of
        the program.
    """

    status: Sequence[str]
    pid: int
    code: int
    output: str
    layers: Mapping[str, bool] = field(default_factory=dict)

    @property
    def failure(self) -> str:
        """The text after `failed` on the last line; empty if the program was executed."""
        word, _, rest = (self.status[-1] if self.status else "").partition(" ")
        return rest if word == "failed" else ""


def build(folder: Path, target: str = "all", cc: str = "gcc") -> Path:
    """Compile the launcher into a folder, and return its path."""
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
    """Run a program through the launcher until it exits.

    :param prefix: command that executes the launcher, such as `setpriv` with options.
    :param said: True if the launcher gets a descriptor for its status.
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
