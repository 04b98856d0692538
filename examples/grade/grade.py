"""Grades programs; each of them runs in its own machine on a cluster."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from submissions import Submission, generate

import microvm.dask.sync
from microvm import ExecTimeout, Job, Outcome, OutputLimit, Snapshot
from microvm.sync import MicroVM

RUNNER = Path(__file__).with_name("runner.py")
START = """
python3 /run/runner.py </dev/null >/run/runner.log 2>&1 &
until [ -p /run/programs ]; do sleep 0.1; done
"""
RUN = ["sh", "-c", "cat >/run/programs; exec cat /run/answers"]
SNAPSHOT = "example-grade"

SECONDS = 20
OUTPUT = "64K"


class Grading(Job):
    """A job, and its submission, which stays on the host."""

    submission: Submission

    def __init__(self, submission: Submission) -> None:
        super().__init__(RUN, input=question(submission.program, submission.given))
        object.__setattr__(self, "submission", submission)  # jobs are frozen


def prepare() -> Snapshot:
    """Save a machine in which Python waits after its first program, which takes longest."""
    with MicroVM("python") as vm:
        vm.put(RUNNER, "/run/runner.py")
        vm.run(["sh", "-c", START], check=True)
        vm.run(RUN, input=question("print(input())", "ready"), check=True)
        return vm.checkpoint(SNAPSHOT)


def question(program: str, given: str) -> bytes:
    """Return a program and its input in the form that the runner reads."""
    return json.dumps({"program": program, "input": given}).encode()


def gradings(count: int) -> Iterator[Grading]:
    """Yield the jobs of the submissions."""
    for each in generate(count):
        yield Grading(each)


def verdict(outcome: Outcome[Any], expected: str) -> str:
    """Compare the output of a program with the expected output, which only the host knows."""
    match outcome.error:
        case None:
            return "right" if outcome.result().stdout.strip() == expected.encode() else "wrong"
        case ExecTimeout():
            return "too slow"
        case OutputLimit():
            return "too long"
        case error:
            return str(error)


def main() -> int:
    """Grade programs, print the number of programs for each verdict, and report unexpected ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--scheduler", default="local")
    arguments = parser.parse_args()
    verdicts = Counter[str]()
    unexpected = 0
    snapshot = prepare()
    begun = time.monotonic()
    for outcome in microvm.dask.sync.map(
        gradings(arguments.count),
        scheduler=arguments.scheduler,
        image=snapshot,
        ordered=False,
        timeout=SECONDS,
        max_output=OUTPUT,
    ):
        submission = cast(Grading, outcome.job).submission
        found = verdict(outcome, submission.expected)
        verdicts[found] += 1
        if found != submission.verdict:
            unexpected += 1
            print(f"{found}, not {submission.verdict}: {submission.program}", file=sys.stderr)
    print(", ".join(f"{number} {found}" for found, number in verdicts.most_common()))
    print(f"{arguments.count / (time.monotonic() - begun):.1f} a second")
    return bool(unexpected)


if __name__ == "__main__":
    sys.exit(main())
