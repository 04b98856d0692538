"""The result of a script: its calls and theirs, the loss of the guest, and what was recorded."""

from __future__ import annotations

from dataclasses import dataclass, field

from microvm.errors import MachineError
from microvm.guest.timeouts import TIMEOUTS, Timeouts

from .recorder import Command, Recorder
from .script import Call, Script

NEVER = float("inf")

READY_TIMEOUT = 60.0
"""The timeout of a boot, in seconds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The clock and the timeouts for a script.

    :ivar slack: what a deadline may be missed by, in seconds.
    :ivar real: on a real clock; else time passes when nothing else can happen.
    """

    timeouts: Timeouts
    slack: float
    real: bool


EXACT = Timing(TIMEOUTS, slack=0.01, real=False)
"""The product's own timeouts, on a clock that is exact."""

REAL_CLOCK = Timing(Timeouts(ping_interval=0.02, ping=0.3, kill=0.3), slack=5.0, real=True)
"""Short timeouts on a real clock, with the slack of a machine that has other things to do."""


@dataclass
class CallResult:
    """The result of a call.

    :ivar ended: when what was called had ended, however long its output was read.
    :ivar value: what it returned, or raised.
    :ivar command: the command that it ran.
    :ivar out: what was read of each stream.
    :ivar left: when the caller had enough; else all was read.
    """

    call: Call
    began: float
    ended: float = NEVER
    value: object = None
    command: Command | None = None
    out: dict[int, bytes] = field(default_factory=dict)
    left: float | None = None


@dataclass
class Result:
    """The result of a script.

    :ivar ready: what came of `ready`, before all other calls.
    :ivar error: for what the host has given the guest up, before it was stopped.
    :ivar lost_at: when a call was told of that.
    :ivar reset_at: when the machine ended by itself.
    """

    script: Script
    timing: Timing
    recorder: Recorder = field(default_factory=Recorder)
    calls: list[CallResult] = field(default_factory=list)
    ready: CallResult = field(init=False)
    error: MachineError | None = None
    lost_at: float = NEVER
    reset_at: float | None = None
