"""The comparison of a schema with its released form, for whether ends of both can talk.

They can when the schema, reduced to the released version, says the same of every byte. What more
there is must then have come with a later version. Names are no part of that: they are noted.
"""

from __future__ import annotations

from enum import Enum as Choice
from pathlib import Path as FilePath

from microvm_proto.breaking_fields import Ends, FieldComparison, Findings
from microvm_proto.diagnostics import in_order, render
from microvm_proto.positions import Path
from microvm_proto.schema import Message, Schema


class Verdict(Choice):
    """The relation of a schema to its released form."""

    EQUIVALENT = "equivalent to"
    NEWER = "newer than"
    INCOMPATIBLE = "incompatible with"


class Comparison:
    """The changes since a schema was released.

    :ivar verdict: whether ends of both can talk to each other.
    """

    def __init__(self, schema: FilePath, released: FilePath) -> None:
        """Compare the schema file with the released one.

        :raises SchemaError: one of them cannot be used.
        """
        self._found = Findings(schema, released)
        self.new, self.old = self._found.new, self._found.old
        self._fields = FieldComparison(self._found)
        self._schema()
        self._seed()
        self.verdict = Verdict.NEWER if self._has_additions() else Verdict.EQUIVALENT
        if self.errors:
            self.verdict = Verdict.INCOMPATIBLE
        else:
            self._bodies()
        self._version()

    @property
    def errors(self) -> int:
        """The number of findings that forbid a release."""
        documents = (self._found.new_document, self._found.old_document)
        return sum(not found.is_note for each in documents for found in each.diagnostics)

    def report(self) -> str:
        """Render all findings with their lines, those in the released form last."""
        documents = (self._found.new_document, self._found.old_document)
        reports = (render(d.path, d.text, in_order(d.diagnostics)) for d in documents)
        return "\n".join(report for report in reports if report)

    def _schema(self) -> None:
        new, old = self.new, self.old
        self._found.renamed(("protocol", "name"), old.name, new.name)
        for at in (0, 1):
            self._found.renamed(("protocol", "ends", at), old.ends[at], new.ends[at])
        if new.framing != old.framing:
            text = "frames of older ends look otherwise, or end elsewhere"
            self._found.error("framing-changed", ("framing",), text, "put it back as it was")
        self._constants()
        self._messages()
        self._found.reserved(old.reserved, new.reserved, ("protocol", "reserved"))
        if new.prefix != old.prefix:
            text = (
                f"lengths and counts were of type `{old.prefix.name}`, and older ends read them so"
            )
            self._found.error("prefix-changed", ("protocol", "prefix"), text, "put it back")

    def _constants(self) -> None:
        released = {constant.name: constant.value for constant in self.old.constants}
        for at, constant in enumerate(self.new.constants):
            before = released.get(constant.name, constant.value)
            if constant.value != before:
                text = f"`{constant.name}` was {before!r}, and older ends go by that"
                self._found.error(
                    "constant-changed", ("constant", at, "value"), text, "put it back"
                )

    def _seed(self) -> None:
        """Check that the check of older ends is right, which is of more than what they read."""
        if not self.errors and self.new.at(self.old.version).seed != self.old.seed:
            text = "older ends have another seed, for a value, an `absent`, a unit or a scale"
            self._found.error("seed-changed", ("framing", "check"), text)

    def _version(self) -> None:
        """Check that the version was raised if, and only if, something is new."""
        new, old, there = self.new, self.old, ("protocol", "version")
        if new.version < old.version:
            hint = f"a version is never taken back: `version = {old.version}` or more"
            self._found.error("version-lowered", there, f"version {old.version} is released", hint)
        elif new.version > old.version and not self._has_additions():
            message = f"nothing in the schema is newer than version {old.version}"
            hint = f"`version = {old.version}`, or `since = {new.version}` on what is new"
            self._found.error("version-needless", there, message, hint)

    def _has_additions(self) -> bool:
        """Tell whether anything came after the released version."""
        return any(
            since > self.old.version
            for since in (
                *(value.since for enum in self.new.enums for value in enum.values),
                *(bit.since for flags in self.new.flags for bit in flags.bits),
                *(version for message in self.new.messages for version in message.versions),
            )
        )

    def _bodies(self) -> None:
        for old_end, end in zip(self.old.ends, self.new.ends, strict=True):
            before, now = self.old.max_body_from(old_end), self.new.max_body_from(end)
            if now > before:
                sent = [
                    at
                    for at, m in enumerate(self.new.messages)
                    if m.sender in (end, "both") and m.max_body == now
                ]
                message = f"the longest body that {end} sends grows from {before} to {now} bytes"
                self._found.note("body-grown", ("message", sent[0], "name"), message)

    def _messages(self) -> None:
        old = {message.number: (at, message) for at, message in enumerate(self.old.messages)}
        names = {message.name: message.number for message in self.old.messages}
        for at, message in enumerate(self.new.messages):
            path: Path = ("message", at)
            if names.get(message.name, message.number) != message.number:
                self._renumbered(path, message.name, names[message.name])
            elif message.number in old:
                old_at, before = old[message.number]
                self._found.named(path, before, message)
                self._message(path, message, ("message", old_at), before)
            elif message.since <= self.old.version:
                text = f"`{message.name}` is new, and an older {self._reader(message)} refuses it"
                self._found.error(
                    "message-unversioned", (*path, "name"), text, self._found.since_hint
                )
        there = {message.number for message in self.new.messages}
        kept = {message.name for message in self.new.messages}
        for number, (at, message) in old.items():
            if number not in there and message.name not in kept:
                text = f"`{message.name}` is gone, and an older {self._writer(message)} sends it"
                hint = f"put it back; when nobody speaks it any more, `reserved = [{number}]`"
                self._found.removed("message-removed", ("message", at, "name"), f"{text}", hint)

    def _renumbered(self, path: Path, name: str, number: int) -> None:
        message = f"the number of `{name}` was {number}"
        self._found.error("number-changed", (*path, "number"), message, "put it back")

    def _reader(self, message: Message) -> str:
        if message.sender == "both":
            return "end"
        return self.new.ends[1 - self.new.ends.index(message.sender)]

    def _writer(self, message: Message) -> str:
        return "end" if message.sender == "both" else message.sender

    def _message(self, path: Path, new: Message, old_path: Path, old: Message) -> None:
        if self._sender_index(self.new, new) != self._sender_index(self.old, old):
            text = f"`{old.sender}` sends `{new.name}`, and older ends refuse it from others"
            self._found.error("sender-changed", (*path, "sender"), text)
        if new.id != old.id:
            text = f'the id of `{new.name}` was "{old.id}", and older ends go by that'
            self._found.error("id-changed", (*path, "id"), text)
        if old.frozen and not new.frozen:
            message = f"the layout of `{new.name}` was promised to stay"
            self._found.error(
                "frozen-changed", (*path, "name"), message, "put back `frozen = true`"
            )
        self._found.since(path, new.name, old.since, new.since)
        ends = Ends(f"an older {self._reader(new)}", f"an older {self._writer(new)}")
        self._fields.fields(path, new, old_path, old, ends)

    def _sender_index(self, schema: Schema, message: Message) -> int:
        return -1 if message.sender == "both" else schema.ends.index(message.sender)
