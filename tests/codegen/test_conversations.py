"""Tests of conversations in a schema: their released form, their comparison, and their section."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from microvm_proto.backends import markdown, states
from microvm_proto.breaking import Comparison, Verdict
from microvm_proto.diagnostics import SchemaError
from microvm_proto.generate import generate
from microvm_proto.load import Document
from microvm_proto.released import canonical
from microvm_proto.resolve import read
from microvm_proto.schema import Output, Schema
from microvm_proto.states import Ignored

from .common import ROOT

HEAD = """
[protocol]
name = "p"
version = {version}
ends = ["client", "server"]

[[message]]
name = "ask"
number = 1
sender = "client"
id = "any"
field = [{{ name = "room", type = "u32" }}]

[[message]]
name = "tell"
number = 2
sender = "server"
id = "any"
field = [{{ name = "data", type = "tail", max = 100 }}]
"""
LATER = """
[[message]]
name = "stop"
number = 3
sender = "both"
id = "none"
since = 2
"""
TALK = re.search(
    r"```toml\n(\[\[conversation\]\].*?)```", (ROOT / "docs/schema.md").read_text(), re.DOTALL
)
assert TALK
EXAMPLE = TALK[1]


def schema_of(text: str, version: int = 1, later: str = "") -> Schema:
    return read(Document(Path("p.toml"), HEAD.format(version=version) + later + text))


def verdict(folder: Path, old: Schema, new: str) -> tuple[Verdict, str]:
    (folder / "old.toml").write_text(canonical(old))
    (folder / "new.toml").write_text(new)
    found = Comparison(folder / "new.toml", folder / "old.toml")
    return found.verdict, found.report()


def test_the_released_form_has_the_whole_conversation() -> None:
    schema = schema_of(EXAMPLE)
    (talk,) = schema.conversations
    assert [state.name for state in talk.states] == ["idle", "asked", "closed"]
    assert [step.following for step in talk.states[1].steps] == ["idle", "closed"]
    released = canonical(schema)
    assert canonical(read(Document(Path("p.toml"), released))) == released


def test_the_specification_shows_all_of_it() -> None:
    schema = schema_of(EXAMPLE)
    text = markdown.emit(schema, Output("markdown", Path("p.md"), "p"))["p.md"]
    section = text.partition("## The conversation talk\n")[2].partition("\n## ")[0]
    assert "    [*] --> idle\n    idle --> asked: ask\n    idle --> [*]\n" in section
    assert "    asked --> idle: tell\n    asked --> closed: tell (last)\n" in section
    for row in (
        "| `idle` | The conversation can end here. |",
        "| `idle` | client | [`ask`](#ask) |  | `asked` |",
        "| `asked` | server | [`tell`](#tell) | `last` | `closed` |",
        "| `last` | The question was the client's last one. |",
        "| `ask` | `tell` |",
        "| `credit` | `ask.room` | `tell.data` |  | Number of bytes that the server may send. |",
    ):
        assert row in section


STOP = '{ message = "stop", from = "server", next = "idle" }'
TELL = '  { message = "tell", next = "idle" },\n'
NEWER = EXAMPLE.replace(TELL, f"{TELL}  {STOP},\n")


def test_a_later_version_may_add_steps_with_its_new_messages(tmp_path: Path) -> None:
    new = HEAD.format(version=2) + LATER + NEWER
    assert verdict(tmp_path, schema_of(EXAMPLE), new) == (Verdict.NEWER, "")
    assert schema_of(NEWER, 2, LATER).at(1).conversations == schema_of(EXAMPLE).conversations


def test_a_conversation_may_be_added_but_not_removed(tmp_path: Path) -> None:
    with_it, without = HEAD.format(version=1) + EXAMPLE, HEAD.format(version=1)
    assert verdict(tmp_path, schema_of(""), with_it) == (Verdict.EQUIVALENT, "")
    found, report = verdict(tmp_path, schema_of(EXAMPLE), without)
    assert found is Verdict.INCOMPATIBLE
    assert "older peers keep to the conversation `talk` [conversation-changed]" in report


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (TELL, "", "know that `tell` of the server leads from the state"),
        (
            ', when = "last" }',
            ', when = "last" }, { message = "ask" }',
            "do not know that `ask` of the client",
        ),
        ('answers = ["tell"]', 'answers = ["tell", "tell"]', "`ask` is answered by tell"),
        ('name = "talk"', 'name = "talk"\nper = "id"', "there is one conversation for each id"),
        ('take = [{ message = "tell", field = "data" }]', "", "`tell.data` decreases `credit`"),
    ],
    ids=["removed", "added", "answers", "per", "counter"],
)
def test_each_changed_rule_is_reported(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert EXAMPLE.count(old) == 1
    found, report = verdict(
        tmp_path, schema_of(EXAMPLE), HEAD.format(version=1) + EXAMPLE.replace(old, new)
    )
    assert found is Verdict.INCOMPATIBLE
    assert told in report


def test_the_generated_module_has_the_steps_of_each_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = "".join(
        f'[[output]]\nbackend = "{backend}"\nfile = "{file}"\n'
        for backend, file in (("python", "codec.py"), ("states", "order.py"))
    )
    for file in generate(schema_of(outputs + EXAMPLE)):
        (tmp_path / file.path.name).write_text(file.text)
    monkeypatch.syspath_prepend(tmp_path)
    order = importlib.import_module("order")
    codec = order.codec
    idle, asked, closed = order.TalkState
    assert {idle: {codec.Ask: {"": asked}}, asked: {}, closed: {}} == order.TALK_CLIENT
    tell = {codec.Tell: {"": idle, "last": closed}}
    assert {idle: {}, asked: tell, closed: {}} == order.TALK_SERVER
    assert states.emit(schema_of(""), Output("states", Path("x.py"), "x")) == {
        "x.py": '"""States of the conversations of p. Generated from p.toml."""\n'
    }


PER_ID = """
[[conversation]]
name = "task"
per = "id"
state = [{ name = "only", final = true, step = [{ message = "ask" }, { message = "tell" }] }]
"""


@pytest.mark.parametrize(
    ("edits", "told"),
    [
        ({"": EXAMPLE.replace("talk", "chat")}, "`talk` is the conversation for each connection"),
        ({'"any"': '"none"', "": PER_ID}, "`ask` has no id [bad-conversation]"),
        ({'"any"': '"required"', "": PER_ID}, "`ask` has an id [bad-conversation]"),
        ({"": PER_ID}, "no state of `talk` allows the messages of `task`"),
        ({"final = true": 'ids = ["client"]', '"talk"': '"talk"\nper = "id"'}, "has `ids`"),
        ({"final = true": 'ids = ["waiter"]'}, "no end has the name `waiter`"),
        (
            {"final = true": 'final = true\nignore_from = ["waiter"]'},
            "no end has the name `waiter`",
        ),
        ({"final = true": 'final = true\nignore = ["ask"]'}, "applies to each `ask`"),
        ({"final = true": 'final = true\nignore = ["other"]'}, "no message has the name `other`"),
        ({'"talk"': '"talk"\nrefusal = "no"'}, "no message has the name `no`"),
        ({'"credit"': '"credit"\nmax = 0'}, "the maximum of `credit` is less than 1"),
        ({'"room"': '"room", from = "server"'}, "`ask` is not sent by both ends"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_two_kinds_of_conversations_are_checked(edits: dict[str, str], told: str) -> None:
    """Each key of `edits` is replaced by its value; the text of the empty key is appended."""
    text = HEAD.format(version=1) + EXAMPLE
    for old, new in edits.items():
        assert old in text
        text = text.replace(old, new) if old else text + new
    with pytest.raises(SchemaError, match=re.escape(told)):
        read(Document(Path("p.toml"), text))


def test_a_counter_can_count_the_messages_of_one_end(tmp_path: Path) -> None:
    both = HEAD.format(version=1).replace('sender = "client"', 'sender = "both"')
    text = both + EXAMPLE.replace(
        '{ message = "ask", next', '{ message = "ask", from = "client", next'
    )
    one = text.replace('field = "room"', 'field = "room", from = "client"')
    schema = read(Document(Path("p.toml"), one))
    assert schema.conversations[0].counters[0].adds[0].counts("ask", "client")
    assert not schema.conversations[0].counters[0].adds[0].counts("ask", "server")
    assert verdict(tmp_path, schema, canonical(schema))[0] is Verdict.EQUIVALENT
    _, report = verdict(tmp_path, read(Document(Path("p.toml"), text)), canonical(schema))
    assert "`ask.room` of the client increases `credit`" in report
    with pytest.raises(SchemaError, match="`waiter` is not the name of an end"):
        read(
            Document(
                Path("p.toml"), one.replace('"room", from = "client"', '"room", from = "waiter"')
            )
        )


SEVERAL = ", ".join(["server tell", "client stop", "server stop"])


@pytest.mark.parametrize(
    ("keys", "ignored", "released"),
    [
        ('ignore_from = ["client", "server"]', SEVERAL, 'ignore_from = ["client", "server"]'),
        ('ignore_from = ["client"]', "client stop", 'ignore_from = ["client"]'),
        ('ignore_from = ["server"]', "server tell, server stop", 'ignore_from = ["server"]'),
        ('ignore = ["tell"]', "server tell", 'ignore = ["tell"]'),
        ('ignore = ["tell", "stop"]', SEVERAL, 'ignore_from = ["client", "server"]'),
        ('ignore = ["tell"]\nignore_from = ["client"]', "server tell, client stop", None),
    ],
)
def test_a_state_ignores_messages_of_each_end(
    tmp_path: Path, keys: str, ignored: str, released: str | None
) -> None:
    schema = schema_of(NEWER.replace("final = true", f"final = true\n{keys}"), 2, LATER)
    idle = schema.conversations[0].states[0]
    assert ", ".join(f"{each.sender} {each.message}" for each in idle.ignored) == ignored
    text = canonical(schema)
    assert (released or keys) in text
    assert read(Document(Path("p.toml"), text)).conversations[0].states[0].ignored == idle.ignored
    assert verdict(tmp_path, schema, text)[0] is Verdict.EQUIVALENT


def test_message_is_ignored_only_from_the_end_without_a_step(tmp_path: Path) -> None:
    """Both ends send `stop`, and a step of the state `asked` has the `stop` of the server."""
    asked = 'name = "asked"\n'
    old = NEWER.replace(asked, f'{asked}ignore = ["stop"]\n')
    schema = schema_of(old, 2, LATER)
    assert schema.conversations[0].states[1].ignored == (Ignored("stop", "client"),)
    found, report = verdict(tmp_path, schema, HEAD.format(version=2) + LATER + NEWER)
    assert found is Verdict.INCOMPATIBLE
    assert "know that `stop` of the client is ignored in the state `asked`" in report
