"""The counters of a guest's daemon, as `MicroVM.status` returns them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GuestStatus:
    """The counters of a guest's daemon, the program `sandboxd`, at one moment.

    Times are in nanoseconds since the guest's kernel started.

    :ivar started_ns: Time at which the daemon started.
    :ivar opened_ns: Time at which the daemon had opened its connection to the host.
    :ivar now_ns: Time at which the daemon read these counters.
    :ivar frames_seen: Number of valid frames that the daemon has received.
    :ivar frames_refused: Number of frames that the daemon has answered with an error.
    :ivar execs: Number of commands that the daemon has started.
    :ivar bytes_dropped: Number of bytes that the daemon skipped while it waited for a `hello` of
        the host.
    :ivar descriptors: Number of files that the daemon has open.
    :ivar zombies: 1 if a process in the guest has exited and the daemon has not reaped it yet,
        otherwise 0.
    :ivar memory: Resident memory of the daemon in bytes; 0 if the guest has no `/proc`.
    """

    started_ns: int
    opened_ns: int
    now_ns: int
    frames_seen: int
    frames_refused: int
    execs: int
    bytes_dropped: int
    descriptors: int
    zombies: int
    memory: int
