"""Tests that the Python encoder and the C encoder agree, on valid and on invalid messages."""

from __future__ import annotations

import ctypes
import subprocess

import pytest
from tests.support.ends import ConnectedEnds, compare, shim, structs
from tests.support.values import messages

from microvm.wire import codec

from ..decoder.build import GUEST
from ..report import Disagreement, schema
from ..search import Record, Search
from ..strategies import drawn

pytestmark = pytest.mark.thorough

BATCH = 300  # number of messages between two checks of the time limit


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> ConnectedEnds:
    folder = tmp_path_factory.mktemp("ends")
    (folder / "shim.c").write_text(shim(schema()))
    command = "gcc -std=c11 -O2 -shared -fPIC -o shim.so shim.c".split()
    subprocess.run([*command, f"-I{GUEST}"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "shim.so"))
    return ConnectedEnds(schema(), codec, codec, (library,), structs(schema()))


@pytest.mark.rung
@pytest.mark.parametrize("batches", [1, pytest.param(100, marks=pytest.mark.long)])
def test_random_message(
    ends: ConnectedEnds, batches: int, search: Search, record_property: Record
) -> None:
    encoded = 0
    for seed in search.batches(batches):
        for message, version, id_, fields in drawn(messages(ends.schema), BATCH, seed):
            try:
                compare(ends, (message, version, id_, fields))
            except AssertionError as error:
                what = f"the encoders disagree on a {message.name}"
                raise Disagreement(what, (version, id_, fields)) from error
            encoded += 1
    record_property("messages", encoded)
