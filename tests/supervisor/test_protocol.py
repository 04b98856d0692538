"""The client of a supervisor without I/O: bytes become events, however they are cut."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microvm.errors import ExecTimeout, MicroVMError, ProtocolError
from microvm.supervisor import wire
from microvm.supervisor.client import protocol
from microvm.supervisor.client.protocol import ClientProtocol
from microvm.supervisor.error_json import to_json

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
)
_lines = st.one_of(
    st.just({"started": True}),
    st.builds(lambda number: {"pong": number}, st.integers()),
    st.builds(lambda text: {"notice": text}, st.text()),
    st.builds(lambda value: {"result": value}, _values),
)


def _receive(data: bytes, cuts: list[int]) -> list[protocol.Event]:
    received, events = ClientProtocol("one"), []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            events += received.receive(data[start:end])
    return events


@given(lines=st.lists(_lines), cuts=st.lists(st.integers(0, 1 << 20)))
def test_lines_become_events_wherever_cut(lines: list[dict[str, Any]], cuts: list[int]) -> None:
    expected = [event for line in lines for event in line.items() if "pong" not in line]
    assert _receive(b"".join(map(wire.encode, lines)), cuts) == expected


@given(data=st.binary(), cuts=st.lists(st.integers(0, 1 << 20)))
def test_any_bytes_give_at_most_one_error_wherever_cut(data: bytes, cuts: list[int]) -> None:
    events = _receive(data + b"\n", cuts)
    assert [name for name, _ in events].count("error") <= 1
    assert [name for name, _ in events] == [name for name, _ in _receive(data + b"\n", [])]


@pytest.mark.parametrize("line", [b"{]", b"7", b"[]", b'{"unknown": 1}', b"\xff"])
def test_an_invalid_line_is_an_error_and_the_rest_is_ignored(line: bytes) -> None:
    received = ClientProtocol("one")
    events = received.receive(b'{"started":true}\n' + line + b'\n{"result":1}\n')
    assert [name for name, _ in events] == ["started", "error"]
    assert isinstance(events[1][1], ProtocolError)
    assert "the supervisor of one sent an invalid line" in events[1][1].message
    assert received.receive(b'{"result":1}\n') == []
    assert received.receive(b"") == [("end", None)]


def test_a_line_without_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LIMIT", 1000)
    received = ClientProtocol("one")
    assert received.receive(b" " * 1000) == []
    [(name, error)] = received.receive(b" ")
    assert name == "error"
    assert "it is too long" in error.message


def test_an_error_is_the_error_of_the_supervisor() -> None:
    sent = ExecTimeout("make", 1.5)
    line = wire.encode({"error": to_json(sent), "status": sent.exit_status})
    [(name, error)] = ClientProtocol("one").receive(line)
    assert name == "error"
    assert isinstance(error, ExecTimeout)
    assert str(error) == str(sent)
    [(_, error)] = ClientProtocol("one").receive(b'{"error": 7}\n')
    assert type(error) is MicroVMError


def test_pings_are_sent_until_too_many_are_unanswered() -> None:
    received = ClientProtocol("one", max_pings=2)
    assert [received.ping(), received.ping()] == [b'{"ping":1}\n', b'{"ping":2}\n']
    assert received.receive(b'{"pong":2}\n') == []
    assert [received.ping(), received.ping()] == [b'{"ping":1}\n', b'{"ping":2}\n']
    assert received.ping() is None
