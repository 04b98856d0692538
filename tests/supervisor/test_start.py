"""Tests of a start that fails before the supervisor runs, and of the number of commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.polling import eventually
from tests.support.processes import children, state

from microvm import MicroVM
from microvm.errors import MicroVMError, UsageError
from microvm.supervisor.client.start import Start
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.supervisor.supervised import slots


def _order(start: Start) -> None:
    with start:
        start.order(
            image=None, snapshot=None, options={}, idle_timeout=None, max_age=None, notify=print
        )


def test_a_supervisor_that_exits_silently_leaves_only_its_output(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho no such module >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(MicroVMError, match="the supervisor of one does not start") as caught:
        _order(Start("one"))
    assert caught.value.detail == "no such module"
    assert [each.name for each in folder.iterdir()] == []


def test_missing_python_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(MicroVMError, match="cannot run /nowhere/python: No such file"):
        Start("one")
    assert [each.name for each in folder.iterdir()] == []


def test_a_supervisor_without_an_order_leaves_nothing(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), Start("one"):
        raise ZeroDivisionError
    assert [each.name for each in folder.iterdir()] == []


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("a/b", {}, "'a/b' cannot be the name of a machine"),
        ("one", {"memory": "none"}, "memory"),
        ("one", {"max_age": "soon"}, "soon"),
        ("one", {"idle_timout": 5}, "did you mean 'idle_timeout'"),
    ],
)
async def test_wrong_arguments_of_start_named_start_nothing(
    folder: Path, name: str, options: dict[str, Any], error: str
) -> None:
    with pytest.raises((UsageError, TypeError), match=error):
        await MicroVM.start_named(name, **options)
    assert not folder.exists()  # noqa: ASYNC240 - nothing else runs in the loop


@pytest.mark.parametrize(
    ("wanted", "has_ports", "permitted"),
    [(1, False, 1), (1, True, 1), (63, True, 63), (64, False, 64), (64, True, 63)],
)
def test_ports_are_one_command_more(wanted: int, has_ports: bool, permitted: int) -> None:
    assert slots(wanted, ports=has_ports) == permitted


def test_a_supervisor_is_no_child_of_its_starter(folder: Path) -> None:
    before = set(children(os.getpid()))

    def ours() -> list[str]:
        return [state(each) for each in set(children(os.getpid())) - before]

    with Start("one"):
        # Our only child is the process that starts the supervisor, and it exits.
        eventually(lambda: ours() == ["Z"])
        with RuntimeDirectory() as runtime, runtime.of("one") as directory:
            assert directory.is_alive()
    assert ours() == []
    assert list(folder.iterdir()) == []
