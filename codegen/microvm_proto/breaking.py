"""The comparison of a schema with its released form, the copy that was saved at a release.

The two are compatible if the schema, reduced to the released version, gives every byte on the wire
the same meaning, and if each addition belongs to a later version. A changed name is an error only
if the checksum of frames depends on that name; otherwise, it is worth a note.
"""

from __future__ import annotations

from enum import Enum as Choice
from pathlib import Path as FilePath

from microvm_proto.breaking_fields import Ends, FieldComparison, Findings
from microvm_proto.diagnostics import in_order, render
from microvm_proto.positions import Path
from microvm_proto.schema import Message, Schema


class Verdict(Choice):
    """The result of comparing a schema with its last release, such as `NEWER` or `INCOMPATIBLE`."""

    EQUIVALENT = "equivalent to"
    NEWER = "newer than"
    INCOMPATIBLE = "incompatible with"


class Comparison:
    """The differences between a schema and its released form, the copy saved at a release.

    :ivar verdict: Relation of the schema to its released form. Programs that use one schema can
        talk to programs that use the other, except if the verdict is `INCOMPATIBLE`.
    """

    def __init__(self, schema: FilePath, released: FilePath) -> None:
        """Read a schema file and the file of its released form, and compare the two schemas."""
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
        """Number of changes that make older programs unable to talk to new ones."""
        documents = (self._found.new_document, self._found.old_document)
        return sum(not found.is_note for each in documents for found in each.diagnostics)

    def report(self) -> str:
        """Return all findings, such as "field removed", as text for people."""
        documents = (self._found.new_document, self._found.old_document)
        reports = (render(d.path, d.text, in_order(d.diagnostics)) for d in documents)
        return "\n".join(report for report in reports if report)

    def _schema(self) -> None:
        new, old = self.new, self.old
        self._found.renamed(("protocol", "name"), old.name, new.name)
        for at in (0, 1):
            self._found.renamed(("protocol", "ends", at), old.ends[at], new.ends[at])
        if new.framing != old.framing:
            text = "older peers send frames in another format"
            self._found.error("framing-changed", ("framing",), text, "restore the framing")
        self._constants()
        self._messages()
        self._conversations()
        self._found.reserved(old.reserved, new.reserved, ("protocol", "reserved"))
        if new.prefix != old.prefix:
            text = f"older peers send lengths and counts of type `{old.prefix.name}`"
            hint = f'restore `prefix = "{old.prefix.name}"`'
            self._found.error("prefix-changed", ("protocol", "prefix"), text, hint)

    def _constants(self) -> None:
        released = {constant.name: constant.value for constant in self.old.constants}
        for at, constant in enumerate(self.new.constants):
            before = released.get(constant.name, constant.value)
            if constant.value != before:
                text = f"`{constant.name}` is {before!r} for older peers"
                path = ("constant", at, "value")
                self._found.error("constant-changed", path, text, "restore the value")

    def _seed(self) -> None:
        """Check that the seed, a number that is XORed with the checksum of frames, is unchanged.

        Otherwise, older and new programs refuse each other's frames. The seed also depends on names
        and units in the schema, so this check finds a change of these, too.
        """
        if not self.errors and self.new.at(self.old.version).seed != self.old.seed:
            text = "the seed of the check changed, by a value, an `absent`, a unit or a scale"
            self._found.error("seed-changed", ("framing", "check"), text)

    def _version(self) -> None:
        """Check that `version` was not lowered, and was raised only if the schema has additions."""
        new, old, path = self.new, self.old, ("protocol", "version")
        if new.version < old.version:
            hint = f"write `version = {old.version}` or a higher version"
            text = f"version {old.version} is already released"
            self._found.error("version-lowered", path, text, hint)
        elif new.version > old.version and not self._has_additions():
            message = f"the schema has no additions since version {old.version}"
            hint = f"write `version = {old.version}`, or add `since = {new.version}` to additions"
            self._found.error("version-needless", path, message, hint)

    def _has_additions(self) -> bool:
        """Return True if the schema adds something, such as a field, in an unreleased version."""
        return any(since > self.old.version for since in self.new.additions)

    def _bodies(self) -> None:
        for old_end, end in zip(self.old.ends, self.new.ends, strict=True):
            before, now = self.old.max_body_from(old_end), self.new.max_body_from(end)
            if now > before:
                sent = [
                    at
                    for at, m in enumerate(self.new.messages)
                    if m.sender in (end, "both") and m.max_body == now
                ]
                message = f"the longest body from the {end} grows from {before} to {now} bytes"
                self._found.note("body-grown", ("message", sent[0], "name"), message)

    def _messages(self) -> None:
        old = {message.number: (at, message) for at, message in enumerate(self.old.messages)}
        names = {message.name: message.number for message in self.old.messages}
        for at, message in enumerate(self.new.messages):
            path: Path = ("message", at)
            if names.get(message.name, message.number) != message.number:
                text = f"the number of `{message.name}` was {names[message.name]}"
                hint = f"restore `number = {names[message.name]}`"
                self._found.error("number-changed", (*path, "number"), text, hint)
            elif message.number in old:
                old_at, before = old[message.number]
                self._found.named(path, before, message)
                self._message(path, message, ("message", old_at), before)
            elif message.since <= self.old.version:
                text = f"an older {self._reader(message)} refuses the new `{message.name}`"
                self._found.error(
                    "message-unversioned", (*path, "name"), text, self._found.since_hint
                )
        there = {message.number for message in self.new.messages}
        kept = {message.name for message in self.new.messages}
        for number, (at, message) in old.items():
            if number not in there and message.name not in kept:
                text = (
                    f"`{message.name}` is removed, but an older {self._writer(message)} may send it"
                )
                hint = f"restore it; once no peer uses it any more, write `reserved = [{number}]`"
                self._found.removed("message-removed", ("message", at, "name"), text, hint)

    def _conversations(self) -> None:
        """Check that older programs accept the same messages in the same states as before.

        Only messages that the released version has are compared. So a later version can add steps
        with its new messages, and states that only these reach.
        """
        new = self.new.at(self.old.version)
        before = {message.name: message.number for message in self.old.messages}
        numbers = {*before.values()}
        known = {each.name: each.number for each in new.messages if each.number in numbers}
        there = {each.name: (at, each) for at, each in enumerate(new.conversations)}
        for old_at, old in enumerate(self.old.conversations):
            if old.name not in there:
                text = f"older peers keep to the conversation `{old.name}`"
                self._found.removed("conversation-changed", ("conversation", old_at, "name"), text)
                continue
            at, conversation = there[old.name]
            now = conversation.of_messages(known).rules(known, self.new.ends)
            then = old.rules(before, self.old.ends)
            for rule in sorted(
                now.keys() ^ then.keys(), key=lambda rule: (rule in then, str(rule))
            ):
                told = "do not know that " + now[rule] if rule in now else "know that " + then[rule]
                path = ("conversation", at, "name")
                self._found.error("conversation-changed", path, f"older peers {told}")

    def _reader(self, message: Message) -> str:
        if message.sender == "both":
            return "peer"
        return self.new.ends[1 - self.new.ends.index(message.sender)]

    def _writer(self, message: Message) -> str:
        return "peer" if message.sender == "both" else message.sender

    def _message(self, path: Path, new: Message, old_path: Path, old: Message) -> None:
        if self._sender_index(self.new, new) != self._sender_index(self.old, old):
            text = f"older peers accept `{new.name}` only from `{old.sender}`"
            if old.sender == "both":
                text = f"older peers send `{new.name}` from both sides"
            self._found.error("sender-changed", (*path, "sender"), text)
        if new.id != old.id:
            text = f'older peers expect `id = "{old.id}"` of `{new.name}`'
            self._found.error("id-changed", (*path, "id"), text)
        if old.frozen and not new.frozen:
            message = f"`{new.name}` was released as frozen, which promises that it never changes"
            self._found.error("frozen-changed", (*path, "name"), message, "restore `frozen = true`")
        self._found.since(path, new.name, old.since, new.since)
        ends = Ends(f"an older {self._reader(new)}", f"an older {self._writer(new)}")
        self._fields.fields(path, new, old_path, old, ends)

    def _sender_index(self, schema: Schema, message: Message) -> int:
        return -1 if message.sender == "both" else schema.ends.index(message.sender)
