"""The programs of `make footprint` that are ours, on the microcontroller that it emulates."""

from __future__ import annotations

from pathlib import Path

import pytest

from footprint.__main__ import measure
from footprint.messages import messages
from footprint.programs import ours
from microvm_proto import backends


@pytest.mark.long
def test_messages_go_there_and_back_on_a_microcontroller(tmp_path: Path) -> None:
    found = {}
    for style in backends.styles("c"):
        (tmp_path / style).mkdir()
        more = ours(tmp_path / style, messages(60), style)
        found[style] = measure(tmp_path / style, more)
    assert found["table"].flash < found["inline"].flash / 2
