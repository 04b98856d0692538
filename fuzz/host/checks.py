"""What must hold of every script, whatever the guest says."""

from __future__ import annotations

from microvm.errors import (
    ExecKilled,
    ExecTimeout,
    GuestDied,
    GuestUnresponsive,
    MachineError,
    MicroVMError,
    OutputLimit,
    ProtocolError,
    StartError,
    VersionMismatch,
)
from microvm.guest.timeouts import TIMEOUTS
from microvm.wire import codec
from microvm.wire.session import WINDOW

from .recorder import Run, Witness
from .result import READY_TIMEOUT, Account, Result

LONGEST_MESSAGE = 500
"""Of an error, in characters; what it has to say in length is its detail."""

NEVER = float("inf")


class Violation(AssertionError):
    """The host did what it must not."""


def input_of(size: int) -> bytes:
    """What a command is fed: in the wrong order it would be other bytes."""
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def check(account: Account) -> None:
    """Look at everything.

    :raises Violation: something does not hold.
    """
    if account.witness.faults:
        raise Violation(account.witness.faults[0])
    verdict = _Verdict(account)
    verdict.check_loss()
    verdict.check_ready()
    for result in account.results:
        verdict.check_result(result)
        if result.run is not None:
            verdict.check_fed(result.run, input_of(result.call.stdin or 0))


class _Verdict:
    def __init__(self, account: Account) -> None:
        self._account = account
        self._witness = account.witness
        self._slack = account.limits.slack
        self._timeouts = account.limits.timeouts

    def check_loss(self) -> None:
        """The machine is given up for the right reason, at the right time, or not at all."""
        account, witness, error = self._account, self._witness, self._account.error
        if error is not None:
            _check_text(error)
        if witness.lie:
            wanted = VersionMismatch if witness.lie.version else ProtocolError
            _hold(type(error) is wanted, f"{error!r} for a lie: {witness.lie.why}")
            closed = NEVER if witness.closed_at is None else witness.closed_at
            _hold(closed - witness.lied_at < self._slack, "a lie was put up with for a time")
        elif isinstance(error, GuestUnresponsive):
            _hold(self._is_silent(account.lost_at or 0), f"{error}, though it did")
        elif isinstance(error, GuestDied):
            ended = witness.ended_at is not None or account.reset_at is not None
            _hold(ended, f"{error}: it lives")
        else:
            _hold(error is None, f"{error!r} for nothing")

    def _is_silent(self, at: float) -> bool:
        """Whether something has been unanswered for as long as it may be."""
        witness = self._witness
        late = [when + self._timeouts.kill for when in _kills(witness)]
        late += [when + self._timeouts.ping for when in witness.pings.values()]
        for result in self._account.results:
            if result.call.kind in ("ping", "status"):
                late.append(result.began + (result.call.timeout or TIMEOUTS.ping))
        return any(abs(at - when) < self._slack for when in late)

    def check_ready(self) -> None:
        """It is ready in time when it has said so."""
        error, took = self._account.ready, self._account.ready_took
        _hold(took <= READY_TIMEOUT + self._slack, "ready took too long")
        if isinstance(error, TimeoutError):
            _hold(not self._witness.greeted, "a time-out for a guest that was ready")
            _hold(took >= READY_TIMEOUT - self._slack, "the time-out came early")
        elif error is None:
            _hold(self._witness.greeted, "it is ready without a word")
        else:
            _hold(error is self._account.error, f"{error!r} is not why the guest was lost")

    def check_result(self, result: Result) -> None:
        """A call returns what was said, or raises one of the errors that there are."""
        call, value = result.call, result.value
        if isinstance(value, BaseException):
            _hold(isinstance(value, MicroVMError), f"{call.kind} raises {value!r}")
            assert isinstance(value, MicroVMError)
            _check_text(value)
        if isinstance(value, MachineError):
            lost = self._account.error
            _hold(value is lost, f"{value!r} is not why the guest was lost: {lost!r}")
        if call.kind in ("ping", "status"):
            self._check_answer(result)
        elif result.run is None:
            _hold(isinstance(value, MachineError), f"{value!r}, and nothing was asked")
        else:
            self._check_end(result, result.run)
            self._check_time(result, result.run)
            self._check_output(result, result.run)

    def _check_answer(self, result: Result) -> None:
        """To a ping, or to the question for the status."""
        value, timeout = result.value, result.call.timeout or TIMEOUTS.ping
        # When the guest is lost meanwhile, nobody waits on.
        latest = [result.began + timeout, *(max(result.began, at) for at in self._losses())]
        late = result.end - min(latest)
        _hold(late <= self._slack, f"{result.call.kind} ended {late} s too late")
        if isinstance(value, codec.Status):
            answers = [answer.values for answer in self._witness.answers]
            told = {name: getattr(value, name) for name in answers[0]} if answers else {}
            _hold(told in answers, f"{value} was never said")
        else:
            answered = value is None and self._witness.last_pong >= result.began
            _hold(answered or isinstance(value, MachineError), f"{value!r} without an answer")

    def _check_end(self, result: Result, run: Run) -> None:
        """A command ends as the guest has said, or as its limits have it, or with the machine."""
        value = result.value
        if run.ending is None or (result.left is not None and value is None):
            ended = value is None and (run.ending is not None or self._account.error is not None)
            _hold(ended or isinstance(value, MachineError), f"{value!r} without an end")
            return
        at, frame = run.ending
        wanted: list[object] = []
        limits = self._beyond(result, run)
        if frame.kind == "exec_failed":
            wanted.append(StartError)
        elif limits:
            first = min(when for when, _ in limits)
            wanted += [kind for when, kind in limits if when <= first + self._slack]
        if frame.kind == "exec_response" and all(
            abs(at - when) < self._slack for when, _ in limits
        ):
            status = frame.number("status")
            wanted.append(-status if frame.number("ending") else status)
        given = type(value) if isinstance(value, BaseException) else value
        _hold(given in wanted, f"{value!r}, and not {wanted}: {frame}")
        if isinstance(value, StartError):
            _hold(value.errno == frame.number("error_number"), f"{value!r}: {frame}")

    def _beyond(self, result: Result, run: Run) -> list[tuple[float, type[ExecKilled]]]:
        """The moments at which a command went beyond its limits."""
        call = result.call
        end = run.ending[0] if run.ending else result.end
        limits: list[tuple[float, type[ExecKilled]]] = []
        if call.timeout is not None and run.started + call.timeout <= end + self._slack:
            limits.append((run.started + call.timeout, ExecTimeout))
        total = 0
        for when, _, data in run.outputs:
            total += len(data)
            if call.max_output is not None and total > call.max_output:
                limits.append((when, OutputLimit))
                break
        return limits

    def _check_time(self, result: Result, run: Run) -> None:
        """It ends within its deadlines: a guest that is silent, or lets nothing die, is lost."""
        call = result.call
        alive = max(run.started, self._witness.last_pong)
        latest = [alive + self._timeouts.ping_interval + self._timeouts.ping]
        if call.timeout is not None:
            latest.append(run.started + call.timeout + (call.grace or 0) + self._timeouts.kill)
        if result.left is not None:
            latest.append(result.left + self._timeouts.kill)
        latest += [
            when + self._timeouts.kill
            for when, kind in self._beyond(result, run)
            if kind is OutputLimit
        ]
        latest += [max(run.started, at) for at in self._losses()]
        # Who is asleep when a command ends finds out when he wakes.
        late = result.end - max(min(latest), result.left or 0)
        _hold(late <= self._slack, f"{call} ended {late} s too late")

    def _losses(self) -> list[float]:
        """The moments by which the guest is known to be lost."""
        losses = [] if self._witness.lie is None else [self._witness.lied_at]
        if self._witness.ended_at is not None:
            losses.append(self._witness.ended_at + self._timeouts.loss_grace)
        if self._account.reset_at is not None:
            losses.append(self._account.reset_at)
        return losses

    def _check_output(self, result: Result, run: Run) -> None:
        """What was read is what was written: all of it, or as much as its limits allow."""
        limit = result.call.max_output
        streams: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
        early = {1: 0, 2: 0}
        total = 0
        deadline = min([when for when, _ in self._beyond(result, run)], default=NEVER)
        for when, stream, data in run.outputs:
            kept = data if limit is None else data[: max(limit - total, 0)]
            total += len(kept)
            streams[stream] += kept
            if when < deadline - self._slack:
                early[stream] += len(kept)
        for stream, out in result.out.items():
            truth = bytes(streams[stream])
            _hold(truth.startswith(out), f"stream {stream} is not what was written")
            if result.whole:
                condemned = deadline < NEVER
                least = early[stream] if condemned and len(truth) > WINDOW else len(truth)
                _hold(len(out) >= least, f"stream {stream}: {len(out)} of {len(truth)} bytes")

    def check_fed(self, run: Run, truth: bytes) -> None:
        """What a command was fed is what was given, and ends only where that ends."""
        _hold(truth.startswith(run.fed), "what was fed is not what was given")
        _hold(not run.fed_end or len(run.fed) == len(truth), "input ended early")


def _kills(witness: Witness) -> list[float]:
    """When the host has killed a command that has not ended."""
    return [when for run in witness.runs if not run.ending for when in run.kills]


def _hold(right: bool, otherwise: str) -> None:
    if not right:
        raise Violation(otherwise)


def _check_text(error: MicroVMError) -> None:
    """Whatever a guest has said, its errors are safe to print."""
    for text in (str(error), error.message, error.hint):
        _hold(text.isprintable(), f"a message cannot be printed: {text!r}")
        _hold(len(text) <= LONGEST_MESSAGE, f"a message of {len(text)} characters")
    odd = [char for char in error.detail if not char.isprintable() and char not in "\n\t"]
    _hold(not odd, f"a detail cannot be printed: {odd!r}")
