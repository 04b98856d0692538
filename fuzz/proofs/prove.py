"""Proofs by CBMC: each harness says what it proves, up to which bound, and assuming what."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from ..outcome import Outcome

HERE = Path(__file__).resolve().parent
GUEST = HERE.parent.parent / "guest"
JOBS = 2
DEADLINE = 600.0
"""Seconds for one proof."""

CHECKS = tuple(
    "bounds pointer pointer-overflow pointer-primitive signed-overflow unsigned-overflow conversion"
    " div-by-zero undefined-shift".split()
)
"""What CBMC checks at each step; a harness names those that are wrong about the code it is for."""

_RESULT = re.compile(
    r"^\[(\S+)\] (?:line \d+ )?(.*): (SUCCESS|FAILURE|UNKNOWN|ERROR)$", re.MULTILINE
)
_FIELD = re.compile(r"^ \* ([A-Z]\w+): (.*(?:\n \*\t.*)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Harness:
    """A harness as its comment describes it."""

    name: str
    functions: tuple[str, ...]
    bound: str
    assumes: str
    options: tuple[str, ...]
    checks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of a harness.

    :ivar properties: how many were looked at; `witnesses` are not among them.
    :ivar failures: those that do not hold, and witnesses that no input reaches.
    :ivar output: empty when all is proved; else the failures, or why there is no verdict.
    """

    harness: Harness
    properties: int
    witnesses: int
    seconds: float
    failures: tuple[str, ...]
    output: str

    @property
    def proved(self) -> bool:
        """Whether every property holds, and there is one."""
        return self.properties > 0 and not self.failures


def harnesses() -> dict[str, Harness]:
    """Read the comments of all harnesses."""
    return {path.stem: _describe(path) for path in sorted(HERE.glob("*.c"))}


def _describe(path: Path) -> Harness:
    comment = path.read_text().split("*/", 1)[0]
    fields = {
        key: " ".join(text.replace(" *\t", " ").split()) for key, text in _FIELD.findall(comment)
    }
    options = ["--unwind", fields["Unwind"]]
    for loop in fields.get("Loops", "").split():
        options += ["--unwindset", loop]
    if "Beyond" not in fields:
        options += ["--unwinding-assertions"]
    wrong = fields.get("Wraps", "").split()
    return Harness(
        name=path.stem,
        functions=tuple(fields["Functions"].split()),
        bound=fields["Bound"],
        assumes=fields["Assumes"],
        options=tuple(options),
        checks=tuple(check for check in CHECKS if check not in wrong),
    )


def prove(names: Iterable[str] | None = None, guest: Path = GUEST, jobs: int = JOBS) -> list[Proof]:
    """Run these harnesses, or all, on the sources in `guest`; `jobs` of them at a time."""
    known = harnesses()
    chosen = [known[name] for name in (known if names is None else names)]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda harness: _run(harness, guest), chosen))


def _run(harness: Harness, guest: Path) -> Proof:
    command = ["cbmc", f"{harness.name}.c", "--function", "prove", "--verbosity", "4"]
    command += ["-D_GNU_SOURCE=", "-I", str(guest.resolve()), "-I", "."]
    command += ["--drop-unused-functions", *harness.options]
    command += ["--no-standard-checks", *(f"--{check}-check" for check in harness.checks)]
    began = time.monotonic()
    try:
        ran = subprocess.run(
            command, cwd=HERE, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        said = ran.stdout + ran.stderr
    except subprocess.TimeoutExpired:
        said = f"no verdict within {DEADLINE:.0f} s"
    witnesses = 0
    failures = []
    results = _RESULT.findall(said)
    for where, text, status in results:
        is_witness = text.startswith("witness: ")
        witnesses += is_witness
        if (status == "FAILURE") != is_witness:
            failures.append(f"{where}: {text}: {status}")
    return Proof(
        harness=harness,
        properties=len(results) - witnesses,
        witnesses=witnesses,
        seconds=time.monotonic() - began,
        failures=tuple(failures),
        output="\n".join(failures) if results else said,
    )


def run(seconds: float, seed: int) -> Outcome:
    """Run the proofs, up to the first that fails; budget and seed change nothing."""
    began = time.monotonic()
    done: list[Proof] = []
    with ThreadPoolExecutor(JOBS) as pool:
        for proof in as_completed(
            [pool.submit(_run, harness, GUEST) for harness in harnesses().values()]
        ):
            done.append(proof.result())
            if not done[-1].proved:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return Outcome(
        rung="F",
        executions=len(done),
        frames=0,
        seconds=time.monotonic() - began,
        seed=seed,
        findings=tuple(
            f"{proof.harness.name}: {proof.output}" for proof in done if not proof.proved
        ),
        notes=f"{sum(proof.properties for proof in done if proof.proved)} properties proved",
    )


def main() -> None:
    """Run the harnesses that the command line names, or all, and print their verdicts."""
    for proof in prove(sys.argv[1:] or None):
        verdict = "proved" if proof.proved else "FAILED"
        print(
            f"{proof.harness.name:12} {verdict} {proof.properties:5} properties,"
            f" {proof.witnesses:2} witnesses, {proof.seconds:6.1f} s"
        )
        if proof.output:
            print(proof.output)


if __name__ == "__main__":
    main()
