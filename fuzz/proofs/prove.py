"""Proofs by CBMC: each harness says what it proves, up to which bound, and assuming what."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from tests.support.emitted import emitted

from microvm_proto.resolve import read_schema

HERE = Path(__file__).resolve().parent
JOBS = 2
DEADLINE = 1800.0
"""Seconds for one proof: none takes more than a minute of a core that is its own."""

CHECKS = tuple(
    "bounds pointer pointer-overflow pointer-primitive signed-overflow unsigned-overflow conversion"
    " div-by-zero undefined-shift".split()
)
"""The checks that CBMC makes at each step; a harness names those that are wrong about its code."""

_RESULT = re.compile(r"^\[(\S+)\] (?:line \d+ )?(.*): (SUCCESS|FAILURE|UNKNOWN|ERROR)$", re.M)
_FIELD = re.compile(r"^ \* ([A-Z]\w+): (.*(?:\n \*\t.*)*)", re.M)
_ENTRY = re.compile(r"^(?:void prove|PROVE_\w+\(\w+, )_?(\w*)", re.M)


@dataclass(frozen=True, slots=True)
class Harness:
    """A harness: a file, whose comment says what CBMC is told.

    :ivar fields: the words of Functions, Bound, Assumes, Unwind, which is how often a loop may go
        on and which may more or less often, Objects, which is how many bits of a pointer say where
        to, Wraps, Beyond, and Idle, which are functions that give any answer and change nothing.
    :ivar entries: what is behind the `prove_` of each function at which CBMC begins.
    """

    name: str
    fields: dict[str, list[str]]
    entries: list[str]


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a harness, from one entry.

    :ivar properties: how many were looked at, 0 without a verdict; `witnesses` are not among them.
    :ivar failures: those that do not hold, and witnesses that no input reaches; or why there is no
        verdict.
    """

    name: str
    properties: int
    witnesses: int
    seconds: float
    failures: tuple[str, ...]

    def __str__(self) -> str:
        """Say it on one line, and what fails below."""
        head = (
            f"{self.name:24} {'FAILED' if self.failures else 'proved'} {self.properties:5} "
            f"properties, {self.witnesses:2} witnesses, {self.seconds:6.1f} s"
        )
        return "\n".join([head, *self.failures])


def harnesses() -> dict[str, Harness]:
    """Read the comments of all harnesses."""
    found = {}
    for path in sorted(HERE.glob("*.c")):
        text = path.read_text()
        fields = _FIELD.findall(text.split("*/", 1)[0])
        words = {key: said.replace("\n *\t", " ").split() for key, said in fields}
        if entries := _ENTRY.findall(text):
            found[path.stem] = Harness(path.stem, words, entries)
    return found


def prove(names: Iterable[str] = ()) -> Iterator[Proof]:
    """Run these harnesses, or all; yield what comes of each entry."""
    known = harnesses()
    chosen = [known[name] for name in (list(names) or known)]
    schema = read_schema(HERE / "types.toml")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(JOBS) as pool:
        for name, text in emitted("c", schema, "types.h", "inline").items():
            Path(folder, name).write_text(text)
        runs = [pool.submit(_run, each, entry, folder) for each in chosen for entry in each.entries]
        try:
            for run in as_completed(runs):
                yield run.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _run(harness: Harness, entry: str, generated: str) -> Proof:
    function = f"prove_{entry}" if entry else "prove"
    command = ["cbmc", f"{harness.name}.c", "world.c", "--function", function]
    command += ["--verbosity", "4", "-D_GNU_SOURCE=", "-I", "../../guest", "-I", generated]
    command += ["--drop-unused-functions", "--no-standard-checks"]
    unwind, *loops = harness.fields["Unwind"]
    command += ["--unwind", unwind]
    for loop in loops:
        command += ["--unwindset", loop]
    for bits in harness.fields.get("Objects", ()):
        command += ["--object-bits", bits]
    command += [] if "Beyond" in harness.fields else ["--unwinding-assertions"]
    wrong = harness.fields.get("Wraps", ())
    command += [f"--{check}-check" for check in CHECKS if check not in wrong]
    began = time.monotonic()
    try:
        ran = subprocess.run(
            command,
            cwd=HERE,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        said = ran.stdout + ran.stderr
    except subprocess.TimeoutExpired:
        said = f"no verdict within {DEADLINE:.0f} s"
    idle = {f"no body for callee {name}" for name in harness.fields.get("Idle", ())}
    results = [result for result in _RESULT.findall(said) if result[1] not in idle]
    witnesses = sum(text.startswith("witness: ") for _, text, _ in results)
    failures = tuple(
        f"{where}: {text}: {status}"
        for where, text, status in results
        if (status == "FAILURE") != text.startswith("witness: ")
    )
    return Proof(
        f"{harness.name} {entry}".rstrip(),
        len(results) - witnesses,
        witnesses,
        time.monotonic() - began,
        failures if results else (said,),
    )


def main() -> None:
    """Run the harnesses that the command line names, or all.

    The status is 1 when a property does not hold, 2 when there is no verdict.
    """
    status = 0
    for proof in prove(sys.argv[1:]):
        print(proof, flush=True)
        if proof.failures:
            status = 1 if proof.properties else 2
    sys.exit(status)


if __name__ == "__main__":
    main()
