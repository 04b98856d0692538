"""Tests that the Python decoder and the C decoder agree."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import strategies as st

from microvm.wire import codec

from .. import report
from ..frames import HELLO
from ..generated import random_messages
from ..report import Disagreement, corpus
from ..search import Record, Search
from ..strategies import Example, drawn, examples
from . import compare
from .compare import Pair, cases

pytestmark = pytest.mark.thorough

BATCH = 20  # number of examples between two checks of the time limit

_FRAMES = random_messages("sandboxd").FRAMES["guest"]
GUESTS = st.lists(_FRAMES, min_size=1, max_size=6).map(lambda frames: Example(b"".join(frames), ()))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return both decoders, which count the compared cases."""
    return Pair(tmp_path_factory.mktemp("pair"))


@pytest.mark.rung
def test_corpus(pair: Pair) -> None:
    for path in corpus():
        data = path.read_bytes()
        in_bytes = Example(data, range(1, len(data)) if len(data) < 500 else ())
        pair.check([in_bytes, *cases(Example(data, ()))])


@pytest.mark.rung
@pytest.mark.parametrize("batches", [14, pytest.param(560, marks=pytest.mark.long)])
def test_random_bytes_in_random_pieces(
    pair: Pair, batches: int, search: Search, record_property: Record
) -> None:
    for seed in search.batches(batches):
        for example in drawn(examples(HELLO) | GUESTS, BATCH, seed):
            pair.check(cases(example))
    record_property("cases", pair.cases)
    record_property("frames", pair.frames)


def test_disagreement_is_found_reduced_and_saved(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = compare.of_host

    def forgetful(data: bytes, cuts: list[int]) -> bytes:
        return read(data.replace(codec.Ping(5).encode(), b""), cuts)

    monkeypatch.setattr(compare, "of_host", forgetful)
    monkeypatch.setattr(report, "CORPUS", tmp_path)
    ping = codec.Ping(5).encode()
    with pytest.raises(Disagreement):
        pair.check([Example(HELLO + codec.Ping(1).encode() * 5 + ping + b"more", ())])
    [path] = tmp_path.iterdir()
    assert path.read_bytes() == ping


def test_crash_of_the_c_decoder_is_reported(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "CORPUS", tmp_path)
    monkeypatch.setattr(pair, "_binary", "false")
    with pytest.raises(Disagreement, match="C breaks"):
        pair.check([Example(b"its last words", ())])
