"""Tests of command lines that are parsed without click: with the same result, or left to click."""

from __future__ import annotations

import os
import sys

import pytest
from tests.support.captured import captured

from microvm.cli import fast_path, preset_sources
from microvm.cli.parameters import given_options
from microvm.cli.verbs.run import run
from microvm.options import ExecOptions, MachineOptions

UNSET = {"cold": False, "tty": False, "env": {}}  # the values that click sets for missing options


@pytest.fixture(autouse=True)
def _nothing_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(preset_sources.NO_FILES, "1")
    for name in [each for each in os.environ if each.startswith("MICROVM_TEST_")]:
        monkeypatch.delenv(name)  # variables of the tests, which microvm takes for presets


@pytest.mark.parametrize(
    "line",
    [
        "true",
        "-- true",
        "sh -c -- --memory",
        "--memory 1G --cpus 2 --cold -- true",
        "-m 1G -m 2G true",
        "-t -e A=1 -e B=2 -w /srv -u nobody:nogroup cat -",
        "--timeout 5s --grace 1 --max-output 1K --image a/b -- true",
        "--console FILE --accel tcg --confinement off --disk 1G true",
    ],
)
def test_plain_command_line_is_parsed_like_by_click(line: str) -> None:
    found = fast_path.parse_run(line.split())
    params = run.make_context("run", line.split()).params
    assert found is not None
    command, machine, options, image = found
    assert (tuple(command), image) == (params.pop("command"), params["image"])
    assert UNSET | machine | options == {
        **UNSET,
        **given_options(MachineOptions, params),
        **given_options(ExecOptions, params),
    }


@pytest.mark.parametrize(
    "line",
    [
        *("", "--", "-v true", "--mem 1G true", "--memory=1G true", "-m1G true", "-m -- true"),
        *("--memory 1Q true", "--grace 1s true", "--copy a:b true", "--help", "- true"),
        "--max-collect 1 true",
    ],
)
def test_other_command_lines_are_left_to_click(line: str) -> None:
    assert fast_path.parse_run(line.split()) is None


@pytest.mark.parametrize("variable", ["MICROVM_LOG", "MICROVM_MEMORY"])
def test_variables_are_left_to_click(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "1")
    assert fast_path.prepare(["run", "true"]) is None


def test_fast_path_imports_no_slow_module() -> None:
    program = (
        "import sys\nfrom microvm.cli import fast_path, run_command\n"
        "print(*{'asyncio', 'click', 'dataclasses', 'inspect', 'logging'} & {*sys.modules})"
    )
    done = captured([sys.executable, "-c", program], check=True)
    assert done.stdout.split() == []
