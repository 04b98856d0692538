"""Tests of the models in Promela. `fuzz/model` checks those of our protocols by Spin."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.emitted import emitted

from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import SCHEMAS, Read

pytestmark = pytest.mark.thorough


def model(schema: Schema) -> str:
    (text,) = emitted("promela", schema, "talk.pml").values()
    return text


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
