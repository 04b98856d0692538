"""The Python decoder and the C decoder agree."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from microvm.wire import codec

from .. import disagreement, report
from ..frames import HELLO
from ..search import Record, Search
from . import compare
from .apart import Apart
from .compare import Disagreement, Pair


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the C decoder."""
    return compare.library(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def apart(library: Path) -> Iterator[Apart]:
    """Give one process to both searches; what they compare is counted."""
    with closing(Apart(library)) as apart:
        yield apart


@pytest.mark.rung
def test_what_once_failed(apart: Apart) -> None:
    apart.do(compare.replay)


@pytest.mark.rung
@pytest.mark.parametrize("batches", [28, pytest.param(560, marks=pytest.mark.long)])
def test_any_bytes_in_any_cut(
    apart: Apart, batches: int, search: Search, record_property: Record
) -> None:
    for seed in search.batches(batches):
        apart.do(compare.check, seed)
    record_property("cases", apart.cases)
    record_property("frames", apart.frames)


def test_a_disagreement_is_seen_and_cut_down(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = compare.of_host

    def forgetful(data: bytes, cuts: list[int]) -> bytes:
        return read(data.replace(codec.Ping(5).encode(), b""), cuts)

    monkeypatch.setattr(compare, "of_host", forgetful)
    pair, ping = Pair(library), codec.Ping(5).encode()
    with pytest.raises(Disagreement) as caught:
        pair.compare(HELLO + codec.Ping(1).encode() * 5 + ping + b"more", ())
    assert compare.smaller(pair, caught.value).data == ping


def _abort(pair: Pair) -> None:
    pair.compare(b"its last words", ())
    os.abort()


def test_what_ends_the_process_is_kept(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "CORPUS", tmp_path)
    with closing(Apart(library)) as apart, pytest.raises(disagreement.Disagreement) as caught:
        apart.do(_abort)
    [path] = tmp_path.iterdir()
    assert path.read_bytes() == b"its last words"
    assert path.name in str(caught.value)
