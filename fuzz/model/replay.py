"""Replay a counterexample against the daemon and the session: `python -m fuzz.model.replay`."""

from __future__ import annotations

import select
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import click
from tests.support.daemon import DaemonProcess, build_sanitized
from tests.support.driven_session import DrivenSession
from tests.support.told_messages import message_of
from tests.support.vectors import SentVector

from microvm.errors import ProtocolError
from microvm.wire import codec
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from ..report import SCHEMA
from .events import ModelEvent
from .faults import faults
from .spin import CHECKS, SearchResult, Spin

MALFORMED = b"\xff" * codec.HEADER_SIZE
ANSWER = 2.0
"""Maximum number of seconds that a message of the daemon takes."""

QUIET = 0.5
"""Number of seconds after which a daemon that has sent nothing is assumed to send nothing more."""

READS = {"receives", "ignores", "drops", "refuses"}
OWN_TIME = "exec_stdin_credit"
"""The message whose time and amount the daemon chooses by the room in its pipes."""


@dataclass(frozen=True, slots=True)
class ReplayedEvent:
    """An event of the model, and what the implementation does instead of it or as well.

    :ivar event: The event; empty after the last one.
    :ivar agrees: False if the implementation does something else.
    """

    event: str
    does: str
    agrees: bool


class Messages:
    """The real messages for the events of a run."""

    def __init__(self, schema: Schema, run: Sequence[ModelEvent]) -> None:
        self._run = run
        self._names = {each.TYPE: name for name, each in _classes(schema).items()}
        self._conditions = list(
            dict.fromkeys(each.name for talk in schema.conversations for each in talk.conditions)
        )

    def of(self, event: ModelEvent) -> codec.Message:
        """Return a message with the id, the nonce and the contents of an event."""
        is_greeting = event.message in ("hello", "ready")
        held = frozenset(() if is_greeting else (self._condition(event),))
        amounts = dict.fromkeys(("stdout_credit", "stderr_credit", "amount", "data"), event.amount)
        sent = SentVector("", event.message, event.id, held, amounts, None)
        message = message_of(sent, *self._command(event.id))
        if isinstance(message, codec.ExecRequest):
            return replace(message, beside=bool(event.contents))
        if isinstance(message, codec.Hello | codec.Ready):
            return replace(message, nonce=event.contents)
        return message

    def name(self, message: codec.Message) -> str:
        """Return the name of a message in the schema."""
        return self._names[message.TYPE]

    def _command(self, id_: int) -> Iterator[bytes]:
        """Yield a command that makes the daemon send the guest's messages with an id.

        Without credit, the command also writes output, which then waits.
        """
        about = [each for each in self._run if each.id == id_ and each.verb == "sends"]
        sent = {each.message for each in about}
        streams = {self._condition(each) for each in about if each.message == "exec_output"}
        script = "exec <&-; " if "exec_stdin_closed" in sent else ""
        for number, stream in enumerate(("stdout", "stderr"), 1):
            paid = any(each.amount and each.message == "exec_request" for each in about)
            script += f"printf x >&{number}; " if stream in streams or not paid else ""
        if {"exec_kill", "exec_terminate"} & sent or "exec_response" not in sent:
            script += "exec sleep 1000"
        is_failing = "exec_failed" in sent
        yield from (b"nonexistent",) if is_failing else (b"sh", b"-c", script.encode())

    def is_malformed(self, event: ModelEvent) -> bool:
        """Return True if an event is the refusal of a malformed frame."""
        return self._condition(event) == "malformed"

    def _condition(self, event: ModelEvent) -> str:
        return self._conditions[event.contents - 1] if event.contents else ""


def _classes(schema: Schema) -> dict[str, type[codec.Message]]:
    by_number = {each.TYPE: each for each in codec.Message.__args__}
    return {each.name: by_number[each.number] for each in schema.messages}


def of_daemon(
    process: DaemonProcess, known: Messages, run: Iterable[ModelEvent]
) -> Iterator[ReplayedEvent]:
    """Yield the steps of a daemon, which reads and sends in the order of the model's guest."""
    decoder = codec.Decoder("guest")

    def answer(seconds: float) -> codec.Message | None:
        while (message := decoder.next_message()) is None or known.name(message) == OWN_TIME:
            if message is None:
                if not select.select([process.stream], [], [], seconds)[0]:
                    return None
                data = process.stream.recv(1 << 18)
                if not data:
                    return None
                decoder.receive_data(data)
        return message

    for event in (each for each in run if each.side == "guest"):
        if event.message == "error" and known.is_malformed(event):
            process.stream.sendall(MALFORMED)  # the guest has read the filler bytes before
        if event.verb in READS:
            is_frame = event.message not in ("filler", "half")
            process.stream.sendall(known.of(event).encode() if is_frame else MALFORMED)
            if event.verb == "refuses":
                refusal = answer(ANSWER)
                is_refused = isinstance(refusal, codec.Error)
                yield ReplayedEvent(
                    str(event), "refuses it" if is_refused else "takes it", is_refused
                )
            else:
                yield ReplayedEvent(str(event), "", agrees=True)
        elif event.message != OWN_TIME:
            sent = answer(ANSWER)
            yield ReplayedEvent(
                str(event), _said(known, sent), sent is not None and _same(known, event, sent)
            )
    if (late := answer(QUIET)) is not None:
        yield ReplayedEvent("", _said(known, late), agrees=False)


def _said(known: Messages, message: codec.Message | None) -> str:
    return f"sends {known.name(message)}" if message else "sends nothing"


def _same(known: Messages, event: ModelEvent, message: codec.Message) -> bool:
    """Return True if a message is that of the model, as far as the model knows its contents."""
    if known.name(message) != event.message:
        return False
    if known.is_malformed(event):
        return True  # the refused frame may have any id
    expected = known.of(event)
    fields = [name for name in ("id", "nonce", "stream") if hasattr(expected, name)]
    return all(getattr(message, name) == getattr(expected, name) for name in fields)


def of_session(known: Messages, run: Iterable[ModelEvent]) -> Iterator[ReplayedEvent]:
    """Yield the steps of a session, which sends and reads in the order of the model's host."""
    driven, first, last = DrivenSession(), 1, 0
    for event in run:
        if (event.side, event.verb) == ("port", "closes"):
            driven, first = DrivenSession(), last + 1
        if event.side != "host":
            continue
        if event.message in ("filler", "half"):
            yield ReplayedEvent(str(event), "sends only whole frames", agrees=True)
            continue
        if event.verb == "sends":
            first = last + 1 if event.message == "hello" else first
            last = max(last, event.id)
        # A session counts its commands from 1 after each `hello`.
        message = known.of(replace(event, id=max(event.id - first + 1, 0)))
        does = _of_session(driven, message, event)
        yield ReplayedEvent(
            str(event),
            does,
            # A session grants credit when output is read, and fails at each `error`.
            does.startswith(event.verb) or event.message in ("exec_credit", "error"),
        )


def _of_session(driven: DrivenSession, message: codec.Message, event: ModelEvent) -> str:
    if event.verb == "sends":
        return "sends it" if driven.say(message) else "sends nothing"
    try:
        return "receives it" if driven.hear(message) else "ignores it"
    except ProtocolError:
        return "refuses it"


def behaves(title: str, steps: Iterable[ReplayedEvent]) -> bool:
    """Print steps until the first one that differs; return True if none does."""
    click.echo(f"\n{'model':52}{title}")
    for step in steps:
        differs = "" if step.agrees else ", which differs"
        click.echo(f"{step.event or '(no more events)':52}{step.does}{differs}".rstrip())
        if not step.agrees:
            click.echo(f"The {title} does not behave as the counterexample.")
            return False
    click.echo(f"The {title} behaves as the counterexample.")
    return True


def search(name: str) -> SearchResult | None:
    """Return the counterexample of a seeded fault, or of the first check that fails."""
    with tempfile.TemporaryDirectory() as folder:
        if name:
            known = (each for each in faults() if each.check.source == SCHEMA)
            (fault,) = (each for each in known if each.name == name)
            return fault.find(Path(folder))
        spin = Spin(read_schema(SCHEMA), Path(folder))
        failing = (check for check in CHECKS if check.source == SCHEMA and spin.check(check).fault)
        check = next(failing, None)
        return spin.find(check) if check else None


def replay(found: SearchResult, binary: Path) -> bool:
    """Replay a counterexample, print it, and return True if daemon and session behave so."""
    known = Messages(read_schema(SCHEMA), found.events)
    click.echo(f"Spin: {found.fault}")
    with closing(DaemonProcess(binary)) as process:
        is_daemon = behaves("daemon", of_daemon(process, known, found.events))
    is_session = behaves("session", of_session(known, found.events))
    return is_daemon and is_session


@click.command()
@click.argument("fault", default="")
def main(fault: str) -> None:
    """Check the model of sandboxd, and replay its counterexample against daemon and session.

    FAULT is the name of a fault in `fuzz/model/faults.toml`, which is first put into this model.
    The exit status is 1 if the real programs behave as in the counterexample: they have a bug.
    """
    if (found := search(fault)) is None:
        click.echo("The model has all properties.")
        return
    with tempfile.TemporaryDirectory() as folder:
        is_real = replay(found, build_sanitized(Path(folder)))
    cause = "a bug of the programs" if is_real else "a fault of the model or of the tables"
    click.echo(f"\nThe counterexample shows {cause}.")
    sys.exit(is_real)


if __name__ == "__main__":
    main(prog_name="python -m fuzz.model.replay")
