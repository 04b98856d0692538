"""The classification of QEMU's exit, from all that was seen of it."""

from __future__ import annotations

import errno
import os
import re
import signal

from microvm.cache import store as cache
from microvm.errors import ExitKind, QemuExit

# ShutdownCause in QEMU's qapi/run-state.json; of its others, QEMU's exit status says as much.
_BY_REASON: dict[str, tuple[ExitKind, str]] = {
    "guest-reset": ("reset", "the guest rebooted"),
    "guest-shutdown": ("shutdown", "the guest powered off"),
    "guest-panic": ("panic", "the guest kernel crashed"),
    "host-qmp-quit": ("quit", "QEMU was told to quit"),
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
    stopped: bool = False,
    write_error: str = "",
) -> QemuExit:
    """Classify QEMU's exit.

    :param reason: the reason in QMP's SHUTDOWN event, if there was one.
    :param internal_error: whether QEMU had stopped the guest with status `internal-error`.
    :param panic: the kernel's line about its crash on the console, if there was one.
    :param stderr: what QEMU wrote to its standard error.
    :param stopped: whether a signal had stopped QEMU, and it was killed for that.
    :param write_error: why QEMU had stopped the guest: the host did not take what it wrote to its
        scratch disk, in the host's words.
    """
    if write_error:
        return _unwritten(write_error, returncode)
    if stopped:
        text = "QEMU was stopped by a signal while it started, and did not go on"
        return QemuExit("killed", text, returncode)
    if internal_error:
        return QemuExit("internal_error", "KVM internal error", returncode)
    if panic is not None and reason in {"guest-reset", "guest-panic"}:
        return QemuExit("panic", f"the guest kernel crashed: {panic}", returncode)
    if reason in _BY_REASON:
        return QemuExit(*_BY_REASON[reason], returncode)
    last_words = "".join(f": {_PROGRAM.sub('', line)}" for line in stderr.splitlines()[-1:])
    if returncode < 0:
        name = signal.Signals(-returncode).name
        text = f"QEMU was killed by signal {-returncode} ({name}){last_words}"
        own: ExitKind = "crash" if -returncode in _CRASHES else "killed"
    else:
        text = f"QEMU ended with status {returncode}{last_words}"
        own = "exit"
    hint = _HINT_SIGBUS if returncode == -signal.SIGBUS else ""
    return QemuExit("limit" if is_about_limit(stderr) else own, text, returncode, hint)


def _unwritten(error: str, returncode: int) -> QemuExit:
    full = error in {os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)}
    what = "disk full on the host" if full else "the host's disk failed"
    where = f"the guest's scratch disk, in {cache.folder('scratch')}, took no more: {error}"
    return QemuExit("limit", f"{what}: {where}", returncode, cache.HINT_FULL if full else "")
