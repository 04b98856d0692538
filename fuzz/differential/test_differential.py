"""The Python decoder and the C decoder agree."""

from __future__ import annotations

import pytest

from microvm.wire import codec

from ..frames import HELLO
from . import compare
from .compare import Disagreement, Pair


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Give one pair to all tests; what they compare is counted."""
    return Pair(tmp_path_factory.mktemp("pair"))


def test_what_once_failed(pair: Pair) -> None:
    compare.replay(pair)


@pytest.mark.parametrize("cases", [50_000, pytest.param(10**6, marks=pytest.mark.long)])
def test_any_bytes_in_any_cut(pair: Pair, cases: int) -> None:
    before, seed = pair.cases, cases
    while pair.cases < before + cases:
        compare.check(pair, 100, seed)
        seed += 1


def test_a_disagreement_is_seen_and_cut_down(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    read = compare.of_host

    def forgetful(data: bytes, cuts: list[int]) -> bytes:
        return read(data.replace(codec.Ping(5).encode(), b""), cuts)

    monkeypatch.setattr(compare, "of_host", forgetful)
    ping = codec.Ping(5).encode()
    with pytest.raises(Disagreement) as caught:
        pair.compare(HELLO + codec.Ping(1).encode() * 5 + ping + b"more", ())
    assert compare.smaller(pair, caught.value).data == ping
