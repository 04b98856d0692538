"""Finds out why QEMU has exited, from its exit status, its output and its QMP events."""

from __future__ import annotations

import os
import re
from errno import EAGAIN, EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM, ENOSPC
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSYS, SIGTRAP, Signals
from typing import Literal

from microvm import cache
from microvm.errors import LOOK_AT_CONSOLE, ExitKind, QemuExit

# The kind of QEMU's exit for some of the reasons in QMP's event SHUTDOWN (the type ShutdownCause in
# QEMU's qapi/run-state.json). For other reasons, the kind is found from QEMU's exit status. The
# reason `guest-reset` may also be a power-off, for which guests without ACPI reset the machine.
_BY_REASON: dict[str, tuple[ExitKind, str]] = {
    "guest-reset": ("reset", "the guest rebooted or powered off"),
    "guest-shutdown": ("shutdown", "the guest powered off"),
    "guest-panic": ("panic", "the guest kernel crashed"),
    "host-signal": ("killed", "QEMU exited because of a signal"),
}

# The signals that kill a process because of its own faults.
_CRASHES = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP}

#: The error numbers that a process gets if the host or a resource limit denies it memory, open
#: files or disk space.
LIMITS = (EAGAIN, EDQUOT, EFBIG, EMFILE, ENFILE, ENOMEM, ENOSPC)

# Advice for the user for each kind of QEMU's exit, if no other hint fits better.
_HINTS: dict[ExitKind, str] = {
    "reset": LOOK_AT_CONSOLE,
    "shutdown": LOOK_AT_CONSOLE,
    "panic": LOOK_AT_CONSOLE,
    "internal_error": "use `--accel tcg`, which does not need KVM",
    "killed": "start it again; if the host ran out of memory, `dmesg` shows that its kernel killed "
    "QEMU",
    "crash": "start it again; if it crashes again, try another version of QEMU",
    "limit": "check the limits of this process with `ulimit -a`, and the host's memory with `free`",
    "exit": "MICROVM_LOG=debug shows its command line",
}
KilledAs = Literal["ended", "stopped", "silent", "garbled"]
"""The reasons why we kill QEMU: it is no longer needed (`ended`), a signal such as SIGSTOP has
stopped it (`stopped`), it is idle and does not start the guest (`silent`), or its output is not
valid QMP (`garbled`)."""

_KILLED_AS: dict[KilledAs, tuple[ExitKind, str, str]] = {
    "ended": ("quit", "QEMU was shut down by microvm", ""),
    "stopped": (
        "killed",
        "QEMU was stopped by a signal, and did not continue",
        "start it again; a debugger or `kill -STOP` stops a process",
    ),
    "silent": (
        "killed",
        "QEMU is idle and has not started the guest",
        "check that the program is QEMU; MICROVM_LOG=debug shows its command line",
    ),
    "garbled": (
        "killed",
        "QEMU sent invalid QMP",
        "its guest may have compromised QEMU; MICROVM_LOG=debug shows the messages",
    ),
}

_PROGRAM = re.compile(r"^qemu[\w-]*: ")


def is_about_limit(text: str) -> bool:
    """Return whether QEMU's message contains the text of an error in `LIMITS`, such as ENOMEM."""
    return any(os.strerror(number) in text for number in LIMITS)


def classify(
    returncode: int,
    *,
    reason: str | None,
    internal_error: bool,
    panic: str | None,
    stderr: str,
    killed_as: KilledAs | None = None,
    write_error: str = "",
) -> QemuExit:
    """Return why QEMU has exited, judged by its exit status, its messages and earlier events.

    :param returncode: Exit status; -N if signal N killed QEMU.
    :param reason: See `Client.shutdown_reason`.
    :param internal_error: True if QEMU had paused the guest with the status `internal-error`.
    :param panic: Line of the kernel's crash on the console; None if there was none.
    :param killed_as: Reason why we killed QEMU; None if we did not.
    :param write_error: See `Client.write_error`.
    """
    if write_error:
        return _failed_write(write_error, returncode)
    exited_alone = reason or internal_error or returncode != -SIGKILL
    if killed_as is not None and not (killed_as == "ended" and exited_alone):
        kind, text, hint = _KILLED_AS[killed_as]
        return QemuExit(kind, text, returncode, hint)
    if internal_error:
        return _exit("internal_error", "KVM internal error", returncode)
    if panic is not None and reason in {"guest-reset", "guest-panic"}:
        return _exit("panic", f"the guest kernel crashed: {panic}", returncode)
    if reason in _BY_REASON:
        return _exit(*_BY_REASON[reason], returncode)
    last_line = "".join(f": {_PROGRAM.sub('', line)}" for line in stderr.splitlines()[-1:])
    if returncode < 0:
        name = Signals(-returncode).name
        text = f"QEMU was killed by signal {-returncode} ({name}){last_line}"
        kind = "crash" if -returncode in _CRASHES else "killed"
    else:
        text = f"QEMU exited with status {returncode}{last_line}"
        kind = "exit"
    # SIGBUS kills QEMU if the memory of a clone is a file on a tmpfs that is full.
    full = f"check whether the disk of the cache is full: {cache.HINT_FULL}"
    hint = full if returncode == -SIGBUS else ""
    return _exit("limit" if is_about_limit(stderr) else kind, text, returncode, hint)


def _exit(kind: ExitKind, text: str, returncode: int, hint: str = "") -> QemuExit:
    return QemuExit(kind, text, returncode, hint or _HINTS.get(kind, ""))


def _failed_write(error: str, returncode: int) -> QemuExit:
    full = error in {os.strerror(number) for number in (ENOSPC, EDQUOT)}
    problem = "disk full on the host" if full else "the host's disk failed"
    text = f"{problem}: cannot write the guest's scratch disk in {cache.folder('scratch')}: {error}"
    return QemuExit("limit", text, returncode, cache.HINT_FULL if full else "")
