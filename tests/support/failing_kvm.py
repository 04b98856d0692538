"""A replacement of QEMU that fails under KVM in one of several ways, and runs QEMU under TCG.

It runs the real QEMU with TCG, so that each failure can be simulated on every host.

    python failing_kvm.py QEMU WAY -- ARGUMENT…
"""

from __future__ import annotations

import ctypes
import json
import os
import re
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
"""The ways to fail, and the behaviour of QEMU in each."""

TRIES = "tries"
"""The name of a file with a line for each QEMU that was started with KVM."""

_SAID = {
    "no accelerator": "failed to initialize kvm: Input/output error",
    "busy": "failed to initialize kvm: Device or resource busy",
}
# The first process reads its console forever, or does not exist.
_WORDS = {
    "silent": "rdinit=/bin/cat",
    "internal error": "rdinit=/bin/cat",
    "died": "rdinit=/bin/false",
}
_PR_SET_PDEATHSIG = 1


def script(folder: Path, way: str) -> str:
    """Return a shell command for `misbehave` that replaces the shell by this program.

    :param folder: the folder of `misbehave`, into which this program is copied: QEMU may run as a
        user who cannot read our sources or our Python.
    """
    assert way in WAYS
    program = shutil.copy(__file__, folder)
    Path(program).chmod(0o755)
    (folder / TRIES).touch()
    (folder / TRIES).chmod(0o666)
    python = shutil.which("python3", path=os.defpath) or sys.executable
    return f'exec {python} -I {program} $real "{way}" -- "$@"\n'


def tries(folder: Path) -> int:
    """Return the number of QEMUs that were started with KVM."""
    return len((folder / TRIES).read_text().splitlines())


def _emulated(arguments: list[str], way: str) -> list[str]:
    """Return QEMU's arguments with TCG instead of KVM, and with the guest's first process."""
    replaced = {"-accel": "tcg", "-cpu": "max"}
    before = ["", *arguments]
    made = [replaced.get(option, each) for option, each in zip(before, arguments, strict=False)]
    made[made.index("-append") + 1] += f" {_WORDS[way]} {_clock()}"
    return made


def _clock() -> str:
    """Return the word for the frequency of the clock, without which Debian's kernel may hang.

    Under KVM the kernel needs no such word, so it is not among the arguments.
    """
    found = re.search(r"^bogomips\s*: ([\d.]+)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"tsc_early_khz={round(float(found[1]) * 500)}" if found else ""


def _fail_internally(qemu: str, arguments: list[str]) -> int:
    """Run QEMU, and report on its behalf by QMP that an internal error has stopped the guest."""
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
        preexec_fn=end_with_us,  # noqa: PLW1509 - this process has no other threads yet
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
    """Forward requests to QEMU, but answer the request for the guest's status."""
    while data := host.recv(1 << 16):  # each message is one request, without a newline
        if b'"query-status"' in data:
            status = {"status": "internal-error", "running": False}
            _say(host, {"return": status, "id": json.loads(data)["id"]})
        else:
            qemu.sendall(data)


def _say(host: socket.socket, message: object) -> None:
    host.sendall(json.dumps(message).encode() + b"\r\n")


def main(qemu: str, way: str, arguments: list[str]) -> int:
    """Run QEMU, or fail as QEMU does if KVM fails."""
    options = dict(pairwise(arguments))
    if not options.get("-accel", "").startswith("kvm"):
        os.execv(qemu, [qemu, *arguments])  # noqa: S606 - QEMU has to keep this process id
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
