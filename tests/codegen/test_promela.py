"""Tests that the models of conversations in Promela are valid, and that Spin finds their faults."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from tests.support.captured import captured
from tests.support.emitted import emitted

from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import SCHEMAS, Read

pytestmark = pytest.mark.thorough

TALK = """
[protocol]
name = "talk"
version = 1
ends = ["client", "server"]
doc = "For tests."

[[conversation]]
name = "talk"
per = "{per}"

[[conversation.condition]]
name = "last"
doc = "The data completes the answer."

[[conversation.state]]
name = "idle"
final = true
step = [{{ message = "ask", next = "asked" }}]
ignore = ["stop"]

[[conversation.state]]
name = "asked"
step = [
  {{ message = "tell" }},
  {{ message = "tell", next = "{end}", when = "last" }},
  {{ message = "stop", from = "client" }},
]

[[conversation.state]]
name = "over"
final = true
step = [{{ message = "stop", from = "server" }}]
ignore = [{ignored}]

[[conversation.counter]]
name = "credit"
doc = "Number of bytes that the server may send."
max = 100
add = [{{ message = "ask", field = "room" }}]
take = [{{ message = "tell", field = "data" }}]

[[message]]
name = "ask"
number = 1
sender = "client"
id = "{id}"
doc = "Asks."
field = [{{ name = "room", type = "u32", doc = "Credit." }}]

[[message]]
name = "tell"
number = 2
sender = "server"
id = "{id}"
doc = "Tells."
field = [{{ name = "data", type = "bytes", max = 9, doc = "Data." }}]

[[message]]
name = "stop"
number = 3
sender = "both"
id = "{id}"
doc = "Stops."
"""
"""A conversation in which a `stop` can cross the last `tell`."""

ENVIRONMENT = """
#define CHANNEL 2
#define talk_last(side, id, contents) (contents == WHEN_LAST)
#define may_send(side, type, id, contents, amount) (type == M_TELL -> amount : contents == 0)
#define may_receive(side) true
#define drops(side) false
#define is_taken(side) false
#include "talk.pml"
inline take(side) { skip }
inline prepare(side) { skip }
inline sent(side) { skip }
inline received(side) { skip }
inline refused(side) { assert(false) }
active proctype Client() { end: do :: client_sends() :: client_receives() od }
active proctype Server() { end: do :: server_sends() :: server_receives() od }
"""


def model(schema: Schema) -> str:
    (text,) = emitted("promela", schema, "talk.pml").values()
    return text


@pytest.mark.parametrize("per", ["connection", "id"])
@pytest.mark.parametrize("ignored", ["", '"stop"'])
def test_spin_finds_a_message_that_is_not_ignored(
    read: Read, per: str, ignored: str, tmp_path: Path
) -> None:
    id_ = "none" if per == "connection" else "required"
    schema = read(TALK.format(per=per, ignored=ignored, end="over", id=id_))
    (tmp_path / "talk.pml").write_text(model(schema))
    (tmp_path / "environment.pml").write_text(ENVIRONMENT)
    for command in (
        "spin -a environment.pml",
        "gcc -w -O1 -DSAFETY -DNOREDUCE -o pan pan.c",
    ):
        captured(command.split(), cwd=tmp_path, check=True)
    said = captured(["./pan", "-m100000"], cwd=tmp_path, check=True).stdout
    (states,) = re.findall(r"(\d+) states, stored", said)
    assert ("errors: 0" in said) == (ignored != "")
    assert int(states) > 10
    if not ignored:
        trail = captured(["./pan", "-r", "environment.pml.trail"], cwd=tmp_path).stdout
        assert re.search(r"event: server refuses 3 ", trail)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_schema_without_conversations_has_an_empty_model(schema: Path) -> None:
    read = read_schema(schema)
    assert (model(read).count("\n") == 1) == (not read.conversations)


def test_large_schema_is_modelled_quickly(read: Read) -> None:
    names = [f"m{at}" for at in range(300)]
    steps = ",\n".join(f'{{ message = "{name}", next = "s{{}}" }}' for name in names)
    states = "".join(
        f'[[conversation.state]]\nname = "s{at}"\nfinal = true\nstep = [{steps}]\n'.replace(
            "s{}", f"s{(at + 1) % 5}"
        )
        for at in range(5)
    )
    messages = "".join(
        f'[[message]]\nname = "{name}"\nnumber = {at}\nsender = "host"\nid = "none"\ndoc = "M."\n'
        for at, name in enumerate(names, 1)
    )
    head = '[protocol]\nname = "large"\nversion = 1\nends = ["host", "guest"]\ndoc = "D."\n'
    schema = read(f'{head}[[conversation]]\nname = "talk"\n{states}{messages}')
    started = time.process_time()
    assert model(schema).count("M_M299") > 1
    assert time.process_time() - started < 5
