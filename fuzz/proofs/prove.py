"""Proofs by CBMC: each harness says what it proves, up to which bound, and assuming what."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ..outcome import Outcome

HERE = Path(__file__).resolve().parent
GUEST = HERE.parents[1] / "guest"
JOBS = 2
DEADLINE = 1800.0
"""Seconds for one proof: none takes more than a minute of a core that is its own."""

CHECKS = tuple(
    "bounds pointer pointer-overflow pointer-primitive signed-overflow unsigned-overflow conversion"
    " div-by-zero undefined-shift".split()
)
"""The checks that CBMC makes at each step; a harness names those that are wrong about its code."""

_RESULT = re.compile(
    r"^\[(\S+)\] (?:line \d+ )?(.*): (SUCCESS|FAILURE|UNKNOWN|ERROR)$", re.MULTILINE
)
_FIELD = re.compile(r"^ \* ([A-Z]\w+): (.*(?:\n \*\t.*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Harness:
    """A harness as its comment describes it.

    :ivar fields: Functions, Bound, Assumes, Unwind, and what else CBMC is told.
    """

    name: str
    fields: dict[str, str]

    @property
    def functions(self) -> list[str]:
        """Return the functions that are proved."""
        return self.fields["Functions"].split()

    @property
    def options(self) -> Iterator[str]:
        """Yield what CBMC is told of bounds and checks."""
        yield from ("--unwind", self.fields["Unwind"])
        for loop in self.fields.get("Loops", "").split():
            yield from ("--unwindset", loop)
        if "Beyond" not in self.fields:
            yield "--unwinding-assertions"
        wrong = self.fields.get("Wraps", "").split()
        yield from (f"--{check}-check" for check in CHECKS if check not in wrong)


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a harness.

    :ivar properties: how many were looked at; `witnesses` are not among them.
    :ivar failures: those that do not hold, and witnesses that no input reaches.
    :ivar output: empty when all is proved; else the failures, or why there is no verdict.
    """

    name: str
    properties: int
    witnesses: int
    seconds: float
    failures: tuple[str, ...]
    output: str

    @property
    def proved(self) -> bool:
        """Whether every property holds, and there is one."""
        return self.properties > 0 and not self.failures

    def __str__(self) -> str:
        """Say it on one line, and what fails below."""
        verdict = "proved" if self.proved else "FAILED"
        return (
            f"{self.name:12} {verdict} {self.properties:5} properties,"
            f" {self.witnesses:2} witnesses, {self.seconds:6.1f} s\n{self.output}"
        ).rstrip()


def harnesses() -> dict[str, Harness]:
    """Read the comments of all harnesses."""
    found = {}
    for path in sorted(HERE.glob("*.c")):
        fields = _FIELD.findall(path.read_text().split("*/", 1)[0])
        words = {key: " ".join(text.replace(" *\t", " ").split()) for key, text in fields}
        found[path.stem] = Harness(path.stem, words)
    return found


def prove(names: Iterable[str] = (), guest: Path = GUEST) -> Iterator[Proof]:
    """Run these harnesses, or all, on the sources in `guest`; yield what comes of each."""
    known = harnesses()
    pool = ThreadPoolExecutor(JOBS)
    try:
        runs = [pool.submit(_run, known[name], guest) for name in (list(names) or known)]
        for run in as_completed(runs):
            yield run.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _run(harness: Harness, guest: Path) -> Proof:
    command = ["cbmc", f"{harness.name}.c", "--function", "prove", "--verbosity", "4"]
    command += ["-D_GNU_SOURCE=", "-I", str(guest.resolve()), "-I", "."]
    command += ["--drop-unused-functions", "--no-standard-checks", *harness.options]
    began = time.monotonic()
    try:
        ran = subprocess.run(
            command, cwd=HERE, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        said = ran.stdout + ran.stderr
    except subprocess.TimeoutExpired:
        said = f"no verdict within {DEADLINE:.0f} s"
    results = _RESULT.findall(said)
    witnesses = sum(text.startswith("witness: ") for _, text, _ in results)
    failures = tuple(
        f"{where}: {text}: {status}"
        for where, text, status in results
        if (status == "FAILURE") != text.startswith("witness: ")
    )
    return Proof(
        harness.name,
        len(results) - witnesses,
        witnesses,
        time.monotonic() - began,
        failures,
        "\n".join(failures) if results else said,
    )


def run(seconds: float, seed: int) -> Outcome:
    """Run the proofs, up to the first that fails; budget and seed change nothing."""
    began = time.monotonic()
    done: list[Proof] = []
    for proof in prove():
        done.append(proof)
        if not proof.proved:
            break
    return Outcome(
        executions=len(done),
        frames=0,
        seconds=time.monotonic() - began,
        findings=tuple(str(proof) for proof in done if not proof.proved),
        notes=f"{sum(proof.properties for proof in done if proof.proved)} properties proved",
    )


def main() -> None:
    """Run the harnesses that the command line names, or all.

    The status is 1 when a property does not hold, 2 when there is no verdict.
    """
    status = 0
    for proof in prove(sys.argv[1:]):
        print(proof, flush=True)
        if not proof.proved:
            status = 1 if proof.failures else 2
    sys.exit(status)


if __name__ == "__main__":
    main()
