"""How a machine came to its end."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass
from typing import Literal

Kind = Literal["reset", "shutdown", "panic", "internal_error", "quit", "killed", "exit"]

# ShutdownCause in QEMU's qapi/run-state.json; of its others, QEMU's exit status says as much.
_BY_REASON: dict[str, tuple[Kind, str]] = {
    "guest-reset": ("reset", "the guest rebooted"),
    "guest-shutdown": ("shutdown", "the guest powered off"),
    "guest-panic": ("panic", "the guest kernel crashed"),
    "host-qmp-quit": ("quit", "QEMU was told to quit"),
    "host-signal": ("killed", "QEMU was told to end by a signal"),
}

_PROGRAM = re.compile(r"^qemu[\w-]*: ")


@dataclass(frozen=True, slots=True)
class Ending:
    """How QEMU ended, and why.

    :ivar kind: `reset`, `shutdown` and `panic` are the guest's doing, `quit` is ours; `killed` is a
        signal's, `internal_error` the accelerator's, `exit` QEMU's own.
    :ivar text: a sentence for people, without its full stop.
    :ivar returncode: QEMU's exit status; -N if signal N killed it.
    """

    kind: Kind
    text: str
    returncode: int


def judge(
    returncode: int, *, reason: str | None, internal_error: bool, panic: str | None, stderr: str
) -> Ending:
    """Decide how QEMU ended from all that was seen of it.

    :param reason: of QMP's SHUTDOWN event, if there was one.
    :param internal_error: whether QEMU had stopped the guest with status `internal-error`.
    :param panic: the kernel's last words on its console, if it had any.
    :param stderr: what QEMU wrote there.
    """
    if internal_error:
        return Ending("internal_error", "KVM internal error", returncode)
    if panic is not None and reason in {"guest-reset", "guest-panic"}:
        return Ending("panic", f"the guest kernel crashed: {panic}", returncode)
    if reason in _BY_REASON:
        return Ending(*_BY_REASON[reason], returncode)
    last_words = "".join(f": {_PROGRAM.sub('', line)}" for line in stderr.splitlines()[-1:])
    if returncode < 0:
        name = signal.Signals(-returncode).name
        text = f"QEMU was killed by signal {-returncode} ({name}){last_words}"
        return Ending("killed", text, returncode)
    return Ending("exit", f"QEMU ended with status {returncode}{last_words}", returncode)
