"""Checks of what must hold of every script, whatever the guest says."""

from __future__ import annotations

from itertools import accumulate, compress
from typing import TypeAlias

from microvm.errors import (
    ExecKilled,
    ExecTimeout,
    GuestDied,
    GuestUnresponsive,
    MachineError,
    MicroVMError,
    OutputLimit,
    StartError,
)
from microvm.guest.timeouts import TIMEOUTS
from microvm.wire import codec
from microvm.wire.session import WINDOW

from ..disagreement import agree
from .recorder import CallResult, Command, Recorder
from .script import QUESTIONS, Call

READY_TIMEOUT = 60.0
"""The timeout of a boot, in seconds."""

SLACK = 0.01
"""What a deadline may be missed by, in seconds."""

LONGEST_MESSAGE = 500
"""The length of an error's message, in characters; its detail may be longer."""

_Limits: TypeAlias = list[tuple[float, type[ExecKilled]]]


def input_of(call: Call) -> bytes | None:
    """Return what a command is fed: in the wrong order it would be other bytes."""
    return (
        None if call.stdin is None else (bytes(range(251)) * (call.stdin // 251 + 1))[: call.stdin]
    )


def check(recorder: Recorder) -> None:
    """Check everything.

    :raises Disagreement: something does not hold.
    """
    for fault in recorder.faults:
        raise fault
    _check_loss(recorder)
    for its in recorder.calls:
        _check_call(recorder, its)


def _check_loss(recorder: Recorder) -> None:
    """The machine is given up for the right reason, at the right time, or not at all."""
    error = recorder.error
    if error is not None:
        _check_text(error)
    if recorder.breach:
        agree(type(error) is recorder.reason, "wrong error", f"{error!r}: {recorder.breach}")
    elif isinstance(error, GuestUnresponsive):
        agree(_is_silent(recorder), "given up, though it has answered in time", error)
    elif isinstance(error, GuestDied):
        agree(bool(recorder.losses), "dead, and it lives", error)
    else:
        agree(error is None, "given up for nothing", repr(error))


def _is_silent(recorder: Recorder) -> bool:
    """Tell whether something has been unanswered for as long as it may be, and not longer."""
    running = [command for command in recorder.commands if not command.ending]
    late = [when + TIMEOUTS.kill for command in running for when in command.kills]
    late += [when + TIMEOUTS.ping for when in recorder.pings.values()]
    asked = [its for its in recorder.calls if its.call.kind in QUESTIONS]
    late += [its.began + (its.call.timeout or TIMEOUTS.ping) for its in asked]
    return any(abs((recorder.left_at or 0) - when) < SLACK for when in late)


def _check_call(recorder: Recorder, its: CallResult) -> None:
    """A call returns what was said, or raises one of the errors that there are."""
    value, command, kind = its.value, its.command, its.call.kind
    if isinstance(value, MicroVMError):
        _check_text(value)
    elif isinstance(value, Exception):
        timed_out = kind == "ready" and isinstance(value, TimeoutError)
        agree(timed_out, f"{kind} raises what it must not", repr(value))
    if isinstance(value, MachineError):
        agree(value is recorder.error, "a call ends for another reason than the loss", repr(value))
    if kind == "ready":
        _check_ready(recorder, its)
    elif kind in QUESTIONS:
        _check_answer(recorder, its)
    elif command is None:
        # Who leaves without waiting for an end is not told of a loss.
        lost = its.left is not None and bool(recorder.losses)
        told = lost or isinstance(value, MachineError)
        agree(told, "no error, and nothing was asked", repr(value))
    else:
        limits = _passed_limits(its, command)
        _check_end(recorder, its, command, limits)
        _check_time(recorder, its, command, limits)
        _check_output(its, command, limits)
        fed = input_of(its.call) or b""
        agree(fed.startswith(command.fed), "what is fed is not what was given")
        agree(not command.fed_end or len(command.fed) == len(fed), "input ends early")


def _check_ready(recorder: Recorder, its: CallResult) -> None:
    """It is ready in time when it has said so."""
    took = its.ended - its.began
    agree(took <= READY_TIMEOUT + SLACK, "ready takes too long", took)
    if its.value is None:
        agree(recorder.greeted, "ready without a word")
    elif isinstance(its.value, TimeoutError):
        agree(not recorder.greeted, "a time-out for a guest that was ready")
        agree(took >= READY_TIMEOUT - SLACK, "a time-out of ready that comes early", took)


def _check_answer(recorder: Recorder, its: CallResult) -> None:
    """Check the answer to a question."""
    value = its.value
    # When the guest is lost meanwhile, nobody waits on.
    latest = min([its.began + (its.call.timeout or TIMEOUTS.ping), *recorder.losses])
    late = its.ended - max(its.began, latest)
    agree(late <= SLACK, "a question ends too late", f"{its.call.kind}: {late} s")
    if isinstance(value, codec.Status):
        agree(value in recorder.statuses, "a status that was not said", value)
    else:
        answered = value is None and recorder.last_pong >= its.began
        agree(answered or isinstance(value, MachineError), "no error, and no answer", repr(value))


def _passed_limits(its: CallResult, command: Command) -> _Limits:
    """Return when a command went beyond its limits, and beyond which."""
    call = its.call
    end = command.ending[0] if command.ending else its.ended
    limits: _Limits = []
    if call.timeout is not None and command.started + call.timeout <= end + SLACK:
        limits.append((command.started + call.timeout, ExecTimeout))
    if call.max_output is not None:
        totals = accumulate(len(data) for _, _, data in command.outputs)
        over = (total > call.max_output for total in totals)
        limits += [(when, OutputLimit) for when, _, _ in compress(command.outputs, over)][:1]
    return limits


def _check_end(recorder: Recorder, its: CallResult, command: Command, limits: _Limits) -> None:
    """A command ends as the guest has said, or as its limits have it, or with the machine."""
    value = its.value
    if command.ending is None or (its.left is not None and value is None):
        over = value is None and (command.ending is not None or recorder.error is not None)
        agree(over or isinstance(value, MachineError), "no error, and no end", repr(value))
        return
    at, end = command.ending
    wanted: list[object]
    if isinstance(end, codec.ExecFailed):
        wanted, memory = [StartError], None
    else:
        first = min((when for when, _ in limits), default=0.0)
        wanted = [kind for when, kind in limits if when <= first + SLACK]
        if all(abs(at - when) < SLACK for when, _ in limits):
            wanted.append(-end.status if end.ending else end.status)
        memory = end.memory or None
    given = type(value) if isinstance(value, BaseException) else value
    agree(given in wanted, "a command ends wrongly", f"{value!r}, and not {wanted}: {end}")
    if its.call.kind != "communicate":  # which raises before anybody could ask
        agree(its.memory == memory, "wrong memory", f"{its.memory}: {end}")
    if isinstance(value, StartError) and isinstance(end, codec.ExecFailed):
        agree(value.errno == end.error_number, "wrong errno", f"{value!r}: {end}")


def _check_time(recorder: Recorder, its: CallResult, command: Command, limits: _Limits) -> None:
    """It ends within its deadlines: a guest that is silent, or lets nothing die, is lost."""
    call, started, kill = its.call, command.started, TIMEOUTS.kill
    alive = max(started, recorder.last_pong)
    latest = [alive + TIMEOUTS.ping_interval + TIMEOUTS.ping]
    if call.timeout is not None:
        latest.append(started + call.timeout + (call.grace or 0) + kill)
    if its.left is not None:
        latest.append(its.left + kill)
    latest += [when + kill for when, kind in limits if kind is OutputLimit]
    latest += [max(started, at) for at in recorder.losses]
    # Who is asleep when a command ends finds out when he wakes.
    late = its.ended - max(min(latest), its.left or 0)
    agree(late <= SLACK, "a command ends too late", f"{call}: {late} s")


def _check_output(its: CallResult, command: Command, limits: _Limits) -> None:
    """Check that what was read is what was written: all, or as much as limits allow."""
    limit = its.call.max_output
    written: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    early = {1: 0, 2: 0}
    total = 0
    killed = min((when for when, _ in limits), default=None)
    for when, stream, data in command.outputs:
        kept = data if limit is None else data[: max(limit - total, 0)]
        total += len(kept)
        written[stream] += kept
        if killed is None or when < killed - SLACK:
            early[stream] += len(kept)
    for stream, out in its.out.items():
        truth = bytes(written[stream])
        agree(truth.startswith(out), "what is read is not what was written", f"stream {stream}")
        if its.left is None:
            dropped = killed is not None and len(truth) > WINDOW
            least = early[stream] if dropped else len(truth)
            agree(len(out) >= least, "output is lost", f"{len(out)} of {len(truth)} bytes")


def _check_text(error: MicroVMError) -> None:
    """Whatever a guest has said, its errors are safe to print."""
    for text in (str(error), error.message, error.hint):
        agree(text.isprintable(), "a message cannot be printed", repr(text))
        agree(len(text) <= LONGEST_MESSAGE, "a message is too long", len(text))
    odd = [char for char in error.detail if not char.isprintable() and char not in "\n\t"]
    agree(not odd, "a detail cannot be printed", repr(odd))
