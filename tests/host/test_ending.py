"""Tests of the JSON of a finished command, which is the same for `run` and for a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from microvm.cli.json_result import MAX_OUTPUT, JsonResult
from microvm.cli.root import cli
from microvm.cli.verbs.run import result_of, run
from microvm.errors import ExecTimeout, ImageError, MicroVMError
from microvm.jobs.ending import facts


@pytest.mark.parametrize(
    ("returncode", "error", "said"),
    [
        (0, None, (0, None, "exited", None)),
        (7, None, (7, None, "exited", None)),
        (-9, None, (137, 9, "signal", None)),
        (None, ExecTimeout("x", 1.0), (124, None, "ExecTimeout", "x: timed out after 1 s")),
        (None, ImageError("no image"), (125, None, "ImageError", "no image")),
        (None, OSError("\x1b"), (125, None, "OSError", r"\x1b")),
        (0, MicroVMError("lost"), (125, None, "MicroVMError", "lost")),
        (7, MicroVMError("lost"), (7, None, "MicroVMError", "lost")),
        (None, None, (125, None, "interrupted", None)),
    ],
)
def test_json_has_the_status_and_reason_of_an_end(
    returncode: int | None, error: Exception | None, said: Any
) -> None:
    end: Any = {"output": None, "seconds": 1 / 3, "memory": None}
    found = facts(["x"], returncode=returncode, error=error, **end)
    assert tuple(found[name] for name in ("status", "signal", "reason", "error")) == said
    assert (found["argv"], found["seconds"]) == (["x"], 0.333333)
    assert "stdout" not in found


def test_binary_output_is_base64_in_json() -> None:
    found = facts([b"\xff"], returncode=0, error=None, output=(b"a\xff", b"b"), seconds=0, memory=1)
    assert found["argv_base64"] == ["/w=="]
    assert (found["stdout_base64"], found["stderr"], found["memory"]) == ("Yf8=", "b", 1)


@pytest.mark.parametrize(
    ("status", "returncode", "reason"), [(130, None, "interrupted"), (130, 0, "interrupted")]
)
def test_signal_to_microvm_is_no_end_of_a_command(
    tmp_path: Path, status: int, returncode: int | None, reason: str
) -> None:
    with (tmp_path / "file").open("w") as file:
        told = JsonResult(file)
        with told.written():
            told.status, told.returncode = status, returncode
    found = json.loads((tmp_path / "file").read_text())
    assert (found["status"], found["signal"], found["reason"]) == (status, None, reason)


def test_failure_before_the_start_is_in_the_json() -> None:
    said = CliRunner().invoke(cli, ["run", "--json", "--image", "no/image", "--", "true"])
    found = json.loads(said.stdout)
    assert (found["argv"], found["status"], found["reason"]) == (["true"], 125, "ImageError")
    assert (found["stdout"], found["stderr"]) == ("", "")
    assert isinstance(said.exception, ImageError)


@pytest.mark.parametrize("also", [["--json-file", "/dev/null"], ["-t"]], ids=str)
def test_output_is_kept_or_passed_on(also: list[str]) -> None:
    with (
        run.make_context("run", ["--json", *also, "--", "true"]) as context,
        pytest.raises(click.UsageError, match=r"--json .*--json-file"),
    ):
        result_of(context.params)


def test_output_that_is_kept_has_a_limit() -> None:
    params = run.make_context("run", ["--json", "--", "true"]).params
    assert result_of(params).output is not None
    assert params["max_output"] == MAX_OUTPUT
