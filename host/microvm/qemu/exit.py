"""The classification of QEMU's exit, from all that was seen of it."""

from __future__ import annotations

import errno
import os
import re
import signal
from typing import Literal

from microvm import cache
from microvm.errors import LOOK_AT_CONSOLE, ExitKind, QemuExit

# ShutdownCause in QEMU's qapi/run-state.json; of its others, QEMU's exit status says as much. A
# guest that has no way to cut the power, for want of ACPI, resets instead.
_BY_REASON: dict[str, tuple[ExitKind, str]] = {
    "guest-reset": ("reset", "the guest rebooted or powered off"),
    "guest-shutdown": ("shutdown", "the guest powered off"),
    "guest-panic": ("panic", "the guest kernel crashed"),
    "host-signal": ("killed", "QEMU was told to end by a signal"),
}

# The signals that a process causes itself; any other was sent, such as for a limit that it has.
_CRASHES = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
}

#: What a process is told that may not have more of something, by the host or a limit of its own.
LIMITS = (
    errno.EAGAIN,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
)

# What to do about each kind of end, where nothing more is known.
_HINTS: dict[ExitKind, str] = {
    "reset": LOOK_AT_CONSOLE,
    "shutdown": LOOK_AT_CONSOLE,
    "panic": LOOK_AT_CONSOLE,
    "internal_error": "`--accel tcg` does without KVM",
    "killed": "start it again; was it this host's kernel, for want of memory? `dmesg` says so",
    "crash": "start it again; where it happens again, another build of QEMU may do better",
    "limit": "`ulimit -a` shows what this process may have, `free` the host's memory",
    "exit": "MICROVM_LOG=debug shows its command line",
}
KilledAs = Literal["ended", "stopped", "silent", "garbled"]
"""What a QEMU is killed for: it is not needed, was stopped by a signal, says nothing, or no QMP."""

_KILLED_AS: dict[KilledAs, tuple[ExitKind, str, str]] = {
    "ended": ("quit", "QEMU was ended", ""),
    "stopped": (
        "killed",
        "QEMU was stopped by a signal, and did not go on",
        "start it again; a debugger or `kill -STOP` stops a process",
    ),
    "silent": (
        "killed",
        "QEMU says nothing: it is asleep, and has started no guest",
        "is it a QEMU? MICROVM_LOG=debug shows its command line",
    ),
    "garbled": (
        "killed",
        "QEMU said what is no QMP",
        "has its guest taken it over? MICROVM_LOG=debug shows what it said",
    ),
}

# Such as of a page of a file on a tmpfs that is full, which a clone's memory may be.
_HINT_SIGBUS = f"is the disk full that the cache is on? {cache.HINT_FULL}"

_PROGRAM = re.compile(r"^qemu[\w-]*: ")


def is_about_limit(text: str) -> bool:
    """Tell whether QEMU complains of something that the host does not let it have."""
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
    """Classify QEMU's exit.

    :param reason: the reason in QMP's SHUTDOWN event, if there was one.
    :param internal_error: whether QEMU had stopped the guest with status `internal-error`.
    :param panic: the kernel's line about its crash on the console, if there was one.
    :param stderr: what QEMU wrote to its standard error.
    :param killed_as: what we have killed it for, if we have.
    :param write_error: why QEMU had stopped the guest: the host did not take what it wrote to its
        scratch disk, in the host's words.
    """
    if write_error:
        return _unwritten(write_error, returncode)
    by_itself = reason or internal_error or returncode != -signal.SIGKILL
    if killed_as is not None and not (killed_as == "ended" and by_itself):
        kind, text, hint = _KILLED_AS[killed_as]
        return QemuExit(kind, text, returncode, hint)
    if internal_error:
        return _exit("internal_error", "KVM internal error", returncode)
    if panic is not None and reason in {"guest-reset", "guest-panic"}:
        return _exit("panic", f"the guest kernel crashed: {panic}", returncode)
    if reason in _BY_REASON:
        return _exit(*_BY_REASON[reason], returncode)
    last_words = "".join(f": {_PROGRAM.sub('', line)}" for line in stderr.splitlines()[-1:])
    if returncode < 0:
        name = signal.Signals(-returncode).name
        text = f"QEMU was killed by signal {-returncode} ({name}){last_words}"
        own: ExitKind = "crash" if -returncode in _CRASHES else "killed"
    else:
        text = f"QEMU ended with status {returncode}{last_words}"
        own = "exit"
    hint = _HINT_SIGBUS if returncode == -signal.SIGBUS else ""
    return _exit("limit" if is_about_limit(stderr) else own, text, returncode, hint)


def _exit(kind: ExitKind, text: str, returncode: int, hint: str = "") -> QemuExit:
    return QemuExit(kind, text, returncode, hint or _HINTS.get(kind, ""))


def _unwritten(error: str, returncode: int) -> QemuExit:
    full = error in {os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)}
    what = "disk full on the host" if full else "the host's disk failed"
    where = f"the guest's scratch disk, in {cache.folder('scratch')}, took no more: {error}"
    return QemuExit("limit", f"{what}: {where}", returncode, cache.HINT_FULL if full else "")
