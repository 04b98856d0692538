"""Tests of the lines of job files, and of the lines with their results."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.support.commands import parsed_jobs

from microvm.errors import FileError, UsageError
from microvm.guest.process import CompletedProcess
from microvm.guest.stdio import read_lines
from microvm.jobs.file import LineJob, report
from microvm.jobs.job import Outcome


def test_a_line_is_for_the_shell_or_an_array_or_an_object() -> None:
    text = """
# a comment
  echo "$HOME" | cat
["echo", "a b"]

{"argv": ["cat"], "id": {"any": 1}, "stdin": "h\\u00e9", "env": {"A": "1"}, "timeout": 0.5}
"""
    env = {b"A": b"0", b"B": b"2"}
    assert parsed_jobs(text, {"A": "0", "B": "2"}) == [
        LineJob(["sh", "-c", 'echo "$HOME" | cat'], env=env, line=3),
        LineJob(["echo", "a b"], env=env, line=4),
        LineJob(
            ["cat"],
            timeout=0.5,
            env={b"A": b"1", b"B": b"2"},
            input="hé".encode(),
            line=6,
            id={"any": 1},
        ),
    ]


def test_bytes_that_are_no_utf_8_reach_the_shell_unchanged() -> None:
    (job,) = parsed_jobs(b"echo \xff\r")
    assert [os.fsencode(argument) for argument in job.argv] == [b"sh", b"-c", b"echo \xff"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"argv": ["x"], "files": {"/a": 7}}', "files: '/a' must be a string, or"),
        ('{"argv": ["x"], "files": {"/a": {"base64": "?"}}}', "files is not Base64"),
        ('{"argv": ["x"], "files": {"": "x"}}', 'files: "" is not a path'),
        ('{"argv": ["x"], "collect": ["a\\u0000b"]}', "is not a path in the guest"),
        ('{"argv": ["x"], "collect": [7]}', "collect: 7 is not a path"),
        ("[1", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('["echo", 1]', "argv must be a non-empty array of strings"),
        ("[]", "argv must be a non-empty array of strings"),
        ("{}", "argv must be a non-empty array of strings"),
        ('{"argv": "echo"}', 'argv must be an array, not "echo"'),
        ('{"argv": ["echo"], "shell": true}', "a job has no key 'shell'"),
        ('{"argv": ["echo"], "timeout": true}', "timeout must be a number or a string, not true"),
        ('{"argv": ["echo"], "timeout": NaN}', "not valid JSON: NaN is not JSON"),
        (
            '{"argv": ["echo"], "max_memory": [64]}',
            "max_memory must be a number or a string, not [64]",
        ),
        ('{"argv": ["echo"], "max_memory": "64"}', "max_memory: '64' is too little memory"),
        ('{"argv": ["echo"], "max_output": "1 K"}', "max_output: '1 K' is not a size"),
        ('{"argv": ["echo"], "timeout": "5 s"}', "timeout: '5 s' is not a duration"),
        ('{"argv": ["echo"], "grace": 0}', "grace: 0 is not a positive duration"),
        ('{"argv": ["echo"], "env": {"A": 1}}', "env must be an object of strings"),
        ('{"argv": ["echo"], "stdin": "\\ud800"}', "stdin: '\\ud800' cannot be written as bytes"),
        ('["\\ud800"]', "'\\ud800' cannot be written as bytes"),
        ('{"argv": ["echo"], "id": {"a": "\\udcff"}}', "id contains text that is not UTF-8"),
        (
            '{"argv": ["echo"], "argv_base64": ["AA=="]}',
            "argv and argv_base64 cannot be used together",
        ),
        ('{"argv_base64": ["AAA"]}', "argv_base64 is not Base64: 'AAA'"),
        ('{"argv_base64": "AAA="}', "argv_base64 must be an array, not"),
        ('{"argv": ["cat"], "stdin_base64": "?"}', "stdin_base64 is not Base64"),
        ('["echo"] ["echo"]', "not valid JSON: Extra data"),
    ],
)
def test_a_line_that_cannot_be_is_named(line: str, says: str) -> None:
    with pytest.raises(UsageError, match=r"^line 2: ") as caught:
        parsed_jobs(f"true\n{line}\n")
    assert says in caught.value.message


def told(outcome: Outcome[Any]) -> dict[str, Any]:
    line = report(outcome)
    assert line.endswith(b"\n")
    assert line.isascii()
    value = json.loads(line)
    assert isinstance(value, dict)
    return value


JOB = LineJob(["true"], line=7, id="x")


def test_a_report_says_all() -> None:
    done = CompletedProcess(("true",), 3, "hé\x1b".encode(), b"\xff", 1 << 40)
    outcome = Outcome(JOB, 0.25, done)
    assert told(outcome) == {
        "line": 7,
        "id": "x",
        "argv": ["true"],
        "status": 3,
        "signal": None,
        "reason": "exited",
        "stdout": "hé\x1b",
        "stderr_base64": "/w==",
        "seconds": 0.25,
        "memory": 1 << 40,
        "error": None,
    }


BYTES = [b"cat", b"\xff\x1b", "é".encode()]


@pytest.mark.parametrize(
    "argv", [BYTES, list(map(os.fsdecode, BYTES))], ids=["bytes", "surrogates"]
)
def test_bytes_that_are_no_utf_8_are_json_and_come_back(argv: list[str | bytes]) -> None:
    done = CompletedProcess(argv, 0, b"\xed\xb3\xbf", b"")
    value = told(Outcome(LineJob(argv, line=1), 1.0, done))
    assert "argv" not in value
    assert not any("\ud800" <= char <= "\udfff" for char in json.dumps(value, ensure_ascii=False))
    again = {"argv_base64": value["argv_base64"], "stdin_base64": value["stdout_base64"]}
    (job,) = parsed_jobs(json.dumps(again).encode())
    assert job == LineJob(BYTES, input=b"\xed\xb3\xbf", env={}, line=1)


def test_files_of_a_job_are_text_or_base64() -> None:
    given = {
        "argv": ["true"],
        "files": {"/a": "text", "b": {"base64": "/w=="}},
        "collect": ["/out", "b", "/out"],
    }
    (job,) = parsed_jobs(json.dumps(given).encode())
    assert job.files == {"/a": b"text", "b": b"\xff"}
    assert job.collect == ("/out", "b")
    done = CompletedProcess(("true",), 0, b"", b"")
    value = told(Outcome(job, 1.0, done, files={"/out": b"", "b": b"\xff"}))
    assert (value["files"], value["error"]) == ({"/out": "", "b": {"base64": "/w=="}}, None)


@pytest.mark.parametrize(("returncode", "status"), [(3, 3), (-9, 137), (0, 125)])
def test_a_job_reports_output_and_a_file_that_it_lacks(returncode: int, status: int) -> None:
    job = LineJob(["true"], collect=("/out", "/none"), line=1)
    done = CompletedProcess(("true",), returncode, b"said", b"")
    error = FileError.of(2, "/none")
    outcome = Outcome(job, 1.0, done, error, {"/out": b"x"})
    value = told(outcome)
    assert (value["status"], value["stdout"], value["files"]) == (status, "said", {"/out": "x"})
    assert value["error"].startswith("/none: ")
    with pytest.raises(FileNotFoundError):
        outcome.result()


def read(path: Path, limit: int) -> list[bytes]:
    async def main() -> list[bytes]:
        with path.open("rb") as file:
            return [line async for line in read_lines(file.fileno(), limit)]

    return asyncio.run(main())


@pytest.mark.parametrize("data", [b"", b"\n", b"a", b"a\n\nb", b"x" * 200_000 + b"\ny\n"])
def test_lines_are_those_of_the_file(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert b"".join(line + b"\n" for line in read(path, 1 << 20)).rstrip() == data.rstrip()
    assert len(read(path, 1 << 20)) == len(data.splitlines())


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 200_000)
    with pytest.raises(UsageError, match="longer than 100000 bytes"):
        read(path, 100_000)
