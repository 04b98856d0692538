"""Proofs by CBMC: each harness in `proofs/` says what it proves, up to which bound, assuming what."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent / "proofs"
GUEST = HERE.parent.parent / "guest"
DEADLINE = 900.0
"""Seconds for one proof."""

CHECKS = tuple(
    "bounds pointer pointer-overflow pointer-primitive signed-overflow unsigned-overflow conversion"
    " div-by-zero undefined-shift".split()
)
"""What CBMC checks at each step; a harness names those that are wrong about the code it is for."""

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
    """What came of a harness; `properties` counts what holds, `output` is empty when all does."""

    name: str
    functions: tuple[str, ...]
    bound: str
    properties: int
    witnesses: int
    seconds: float
    proved: bool
    output: str


def harnesses() -> dict[str, Harness]:
    """Read the comments of all harnesses."""
    return {path.stem: _describe(path) for path in sorted(HERE.glob("*.c"))}


def _describe(path: Path) -> Harness:
    comment = path.read_text().split("*/", 1)[0]
    fields = {key: " ".join(text.replace(" *\t", " ").split()) for key, text in _FIELD.findall(comment)}
    options = ["--unwind", fields["Unwind"]]
    for loop in fields.get("Loops", "").split():
        options += ["--unwindset", loop]
    wrong = fields.get("Wraps", "").split()
    return Harness(
        name=path.stem,
        functions=tuple(fields["Functions"].split()),
        bound=fields["Bound"],
        assumes=fields["Assumes"],
        options=tuple(options),
        checks=tuple(check for check in CHECKS if check not in wrong),
    )


def prove(names: Iterable[str] | None = None, guest: Path = GUEST, jobs: int = 2) -> list[Proof]:
    """Run these harnesses, or all, on the sources in `guest`; `jobs` of them at a time."""
    known = harnesses()
    chosen = [known[name] for name in (known if names is None else names)]
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda harness: _run(harness, guest), chosen))


def _run(harness: Harness, guest: Path) -> Proof:
    command = ["cbmc", f"{harness.name}.c", "--function", "prove", "--json-ui", "--verbosity", "4"]
    command += ["-D_GNU_SOURCE=", "-I", str(guest.resolve()), "-I", "."]
    command += ["--drop-unused-functions", "--unwinding-assertions", *harness.options]
    command += ["--no-standard-checks", *(f"--{check}-check" for check in harness.checks)]
    began = time.monotonic()
    try:
        run = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=DEADLINE)
        properties, failures = _judge(run.stdout)
    except subprocess.TimeoutExpired:
        properties, failures = [], [f"no verdict within {DEADLINE:.0f} s"]
    witnesses = sum(text.startswith("witness: ") for text in properties)
    return Proof(
        name=harness.name,
        functions=harness.functions,
        bound=harness.bound,
        properties=len(properties) - witnesses,
        witnesses=witnesses,
        seconds=time.monotonic() - began,
        proved=not failures,
        output="\n".join(failures),
    )


def _judge(output: str) -> tuple[list[str], list[str]]:
    """Give the descriptions of all properties, and what is wrong; a witness has to fail."""
    try:
        parts = json.loads(output)
    except ValueError:
        return [], [f"CBMC was not understood: {output[-2000:]}"]
    results = next((part["result"] for part in parts if "result" in part), None)
    if results is None:
        return [], [part["messageText"] for part in parts if part.get("messageType") == "ERROR"]
    failures = []
    for result in results:
        is_witness = result["description"].startswith("witness: ")
        if (result["status"] == "FAILURE") != is_witness:
            where = result.get("sourceLocation", {})
            place = f"{where.get('file', '?')}:{where.get('line', '?')}"
            failures.append(f"{place}: {result['description']}: {result['status']}")
    return [result["description"] for result in results], failures


def main() -> None:
    """Run the harnesses that the command line names, or all, and print their verdicts."""
    import sys

    for proof in prove(sys.argv[1:] or None):
        verdict = "proved" if proof.proved else "FAILED"
        print(f"{proof.name:12} {verdict} {proof.properties:5} properties, {proof.seconds:6.1f} s")
        if proof.output:
            print(proof.output)


if __name__ == "__main__":
    main()
