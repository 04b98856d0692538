"""A program in QEMU's place that fails under KVM in one of several ways; under TCG it is QEMU.

The real QEMU runs behind it, with TCG, so that each failure can be had on every host.

    python failing_kvm.py QEMU WAY -- ARGUMENT…
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

WAYS = {
    "refused": "QEMU aborts at once",
    "no accelerator": "QEMU exits at once",
    "busy": "QEMU exits at once, since another hypervisor uses the processor",
    "internal error": "QEMU stops the guest while it boots, with the status `internal-error`",
    "died": "the guest's kernel panics",
    "silent": "the guest runs and never answers",
}
"""The ways, with the behaviour of QEMU in each."""

TRIES = "tries"
"""The name of a file that has a line for each QEMU that was to use KVM."""

_SAID = {
    "no accelerator": "failed to initialize kvm: Input/output error",
    "busy": "failed to initialize kvm: Device or resource busy",
}
# A first process that reads its console for ever, and one that does not exist.
_WORDS = {
    "silent": "rdinit=/bin/cat",
    "internal error": "rdinit=/bin/cat",
    "died": "rdinit=/nonexistent",
}
_PR_SET_PDEATHSIG = 1


def script(folder: Path, way: str) -> str:
    """Return a line of shell, for `misbehave`, that becomes this program.

    :param folder: the folder of `misbehave`, into which the program is copied: QEMU may run as a
        user who cannot read our sources, or the Python that we run with.
    """
    assert way in WAYS
    program = shutil.copy(__file__, folder)
    Path(program).chmod(0o755)
    (folder / TRIES).touch()
    (folder / TRIES).chmod(0o666)
    python = shutil.which("python3", path=os.defpath) or sys.executable
    return f'exec {python} -I {program} $real "{way}" -- "$@"\n'


def tries(folder: Path) -> int:
    """Return how many QEMUs were to use KVM."""
    return len((folder / TRIES).read_text().splitlines())


def _emulated(arguments: list[str], way: str) -> list[str]:
    """Return QEMU's arguments with TCG in KVM's place, and a first process for the guest."""
    replaced = {"-accel": "tcg", "-cpu": "max"}
    before = ["", *arguments]
    made = [replaced.get(option, each) for option, each in zip(before, arguments, strict=False)]
    made[made.index("-append") + 1] += f" {_WORDS[way]}"
    return made


def _fail_internally(qemu: str, arguments: list[str]) -> int:
    """Run QEMU, and say in its place on QMP that it has stopped the guest for an internal error."""
    chardev = next(each for each in arguments if each.startswith("socket,id=qmp,fd="))
    number = int(chardev.rpartition("=")[2])
    host = socket.socket(fileno=os.dup(number))
    ours, theirs = socket.socketpair()
    os.dup2(theirs.fileno(), number, inheritable=True)
    theirs.close()

    def end_with_us() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    with subprocess.Popen(
        [qemu, *arguments],
        close_fds=False,
        preexec_fn=end_with_us,  # noqa: PLW1509 - no other thread runs yet
    ) as process:
        os.close(number)
        threading.Thread(target=_forward, args=(host, ours), daemon=True).start()
        for line in ours.makefile("rb"):
            host.sendall(line)
            if json.loads(line).get("event") == "RESUME":
                stamp = {"seconds": int(time.time()), "microseconds": 0}
                _say(host, {"event": "STOP", "timestamp": stamp})
        return process.wait()


def _forward(host: socket.socket, qemu: socket.socket) -> None:
    """Hand on what QEMU is asked, but for the guest's status."""
    while data := host.recv(1 << 16):  # a request is one message, without the end of a line
        if b'"query-status"' in data:
            status = {"status": "internal-error", "running": False}
            _say(host, {"return": status, "id": json.loads(data)["id"]})
        else:
            qemu.sendall(data)


def _say(host: socket.socket, message: object) -> None:
    host.sendall(json.dumps(message).encode() + b"\r\n")


def main(qemu: str, way: str, arguments: list[str]) -> int:
    """Become QEMU, or fail as KVM does."""
    options = dict(pairwise(arguments))
    if not options.get("-accel", "").startswith("kvm"):
        os.execv(qemu, [qemu, *arguments])  # noqa: S606 - it is to be this process
    with Path(__file__).with_name(TRIES).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if way == "refused":
        os.abort()
    if way == "internal error":
        return _fail_internally(qemu, _emulated(arguments, way))
    if way in _WORDS:
        os.execv(qemu, [qemu, *_emulated(arguments, way)])  # noqa: S606 - as above
    print(f"{Path(qemu).name}: {_SAID[way]}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    program, asked, _, *rest = sys.argv[1:]
    sys.exit(main(program, asked, rest))
