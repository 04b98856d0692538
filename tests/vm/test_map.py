"""Tests of `Pool.map` and `microvm map`: many commands, each in a machine of its own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.support.processes import children, exists
from tests.vm.conftest import DEADLINE, Command

from microvm import ExecTimeout, GuestDied, Job, Pool
from microvm.images import Image


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool(image: Image) -> AsyncIterator[Pool]:
    async with Pool(2, image=image) as pool:
        yield pool


@pytest.mark.thorough
async def test_dead_machine_affects_only_its_own_outcome(pool: Pool) -> None:
    commands: list[Job | list[str]] = [
        ["sh", "-c", "touch /tmp/file; poweroff -f; sleep 60"],
        ["ls", "/tmp"],
        Job(["sleep", "60"], timeout=0.2),
        Job(["cat"], input=b"\xff"),
    ]
    outcomes = [outcome async for outcome in pool.map(commands, timeout=30)]
    assert [type(outcome.error) for outcome in outcomes] == [
        GuestDied,
        type(None),
        ExecTimeout,
        type(None),
    ]
    assert [outcome.result().stdout for outcome in outcomes[1::2]] == [b"", b"\xff"]


_UP = re.compile(rb"QEMU is process (\d+), ready")


def test_killed_starts_lose_no_job(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("".join(f"echo {number}\n" for number in range(1, 10)))
    with (
        (tmp_path / "results").open("w+b") as results,
        subprocess.Popen(
            [sys.executable, "-m", "microvm", "map", "-j2", tmp_path / "jobs"],
            stdout=results,
            stderr=subprocess.PIPE,
            env={**os.environ, "MICROVM_LOG": "info"},
        ) as process,
    ):
        assert process.stderr is not None
        up = 0
        for line in process.stderr:
            if started := _UP.search(line):
                up += 1
                if up % 3 == 0:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(started[1]), signal.SIGKILL)
    found = _results((tmp_path / "results").read_bytes())
    assert up > 9
    assert sorted(each["line"] for each in found) == [*range(1, 10)]
    for each in found:  # a job may have begun when its machine was killed
        assert each["stdout"] == f"{each['line']}\n" or each["reason"] == "GuestDied"
    assert process.returncode == any(each["status"] for each in found)


@pytest.mark.thorough
def test_failed_starts_are_reported_for_each_job(
    microvm: Command, unbootable: Path, tmp_path: Path
) -> None:
    (tmp_path / "jobs").write_text("".join(f"echo {number}\n" for number in range(1, 101)))
    file = microvm("map", "--image", str(unbootable), str(tmp_path / "jobs"))
    pipe = microvm("map", "--ordered", "--image", str(unbootable), "-", input=b"true\n" * 100)
    for result in (file, pipe):
        assert result.returncode == 125
        found = _results(result.stdout)
        assert sorted(each["line"] for each in found) == [*range(1, 101)]
        assert {(each["status"], each["reason"]) for each in found} == {(125, "NotRun")}
        assert all(each["error"].startswith("not run: the guest did not boot") for each in found)
        said = result.stderr.decode().splitlines()
        assert "microvm: no machine can be started: the remaining jobs are not run" in said
        assert any(line.startswith("microvm: the guest did not boot") for line in said)


def _results(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.thorough
def test_each_input_line_gives_one_output_line(microvm: Command, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs"
    jobs.write_text(
        """# each in a machine of its own
echo "$A in $(pwd)"; echo err >&2; exit 3

["sh", "-c", "kill -9 $$"]
{"argv": ["sh", "-c", "cat; whoami"], "id": "c1", "stdin": "in\\n", "user": "nobody"}
["printf", "\\\\377"]
{"argv": ["sleep", "60"], "timeout": 0.2}
["nonexistent"]
{"argv": ["sh", "-c", "tail -c 60m /dev/zero"], "max_memory": "20M"}
"""
    )
    result = microvm("map", "--ordered", "-e", "A=1", "--workdir", "/tmp", str(jobs))
    assert (result.returncode, result.stderr) == (1, b"")
    found = _results(result.stdout)
    assert [(each["line"], each["status"], each["signal"]) for each in found] == [
        (2, 3, None),
        (4, 137, 9),
        (5, 0, None),
        (6, 0, None),
        (7, 124, None),
        (8, 127, None),
        (9, 137, None),
    ]
    assert (found[0]["stdout"], found[0]["stderr"]) == ("1 in /tmp\n", "err\n")
    assert found[0]["argv"][:2] == ["sh", "-c"]
    assert (found[2]["stdout"], found[2]["id"]) == ("in\nnobody\n", "c1")
    assert base64.b64decode(found[3]["stdout_base64"]) == b"\xff"
    assert found[4]["error"] == "sleep: timed out after 0.2 s"
    assert found[6]["error"].startswith("sh: took more than 20M of memory")
    assert all(each["seconds"] > 0 for each in found)
    assert [each["memory"] is None for each in found] == [each["status"] == 127 for each in found]


def test_ctrl_c_ends_map_after_the_complete_results() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "microvm", "map", "-", "-j2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"echo first\nsleep 60\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["stdout"] == "first\n"
    machines = children(process.pid)
    assert machines
    process.send_signal(signal.SIGINT)
    try:
        assert process.communicate(timeout=30) == (b"", b"")
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert not any(exists(pid) for pid in machines)


def test_results_that_cannot_be_written_are_an_error() -> None:
    command = ["sh", "-c", 'echo true | "$@" map - >/dev/full', "sh", sys.executable, "-m"]
    result = subprocess.run(
        [*command, "microvm"], capture_output=True, timeout=DEADLINE, check=False
    )
    assert result.returncode == 125
    assert result.stderr == b"microvm: cannot write the results: No space left on device\n"


@pytest.mark.thorough
@pytest.mark.parametrize("results_too", [False, True])
def test_progress_bar_does_not_mix_with_results(tmp_path: Path, results_too: bool) -> None:
    (tmp_path / "jobs").write_text("true\nfalse\n")
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "microvm", "map", tmp_path / "jobs"],
        stdout=theirs if results_too else subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        shown = _all_of(ours)
        lines = re.findall(rb"{.*}(?=\r\n)", shown)
        assert len(lines) == 2 * results_too
        results = _results(process.stdout.read() if process.stdout else b"\n".join(lines))
    assert re.search(rb"2/2.*1 failed, \d+\.\d/s, machines: \d", shown)
    assert (process.returncode, len(results)) == (1, 2)


def _all_of(terminal: int) -> bytes:
    """Return the output of a terminal until no process has it open, which Linux reports as EIO."""
    shown = b""
    with open(terminal, "rb", buffering=0) as file, contextlib.suppress(OSError):
        while data := file.read(1 << 16):
            shown += data
    return shown
