"""Proofs by CBMC, a model checker for C. The comment of each harness lists its bounds."""

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
"""Maximum number of seconds for a proof. On an idle core, none takes more than a minute."""

CHECKS = tuple(
    "bounds pointer pointer-overflow pointer-primitive signed-overflow unsigned-overflow conversion"
    " div-by-zero undefined-shift".split()
)
"""The checks of CBMC. A harness names those that its code does not satisfy on purpose."""

_RESULT = re.compile(r"^\[(\S+)\] (?:line \d+ )?(.*): (SUCCESS|FAILURE|UNKNOWN|ERROR)$", re.M)
_FIELD = re.compile(r"^ \* ([A-Z]\w+): (.*(?:\n \*\t.*)*)", re.M)
_ENTRY = re.compile(r"^(?:void prove|PROVE_\w+\(\w+, )_?(\w*)", re.M)


@dataclass(frozen=True, slots=True)
class Harness:
    """A harness, which is a C file whose comment contains options for CBMC.

    :ivar fields: Words of each field in the comment. Functions: the proved functions. Bound and
        Assumes: for readers. Unwind: maximum number of iterations of loops, and exceptions.
        Objects: number of bits in a pointer for the object. Wraps: checks that are disabled.
        Beyond: set if loops may continue beyond the bound. Idle: functions that return any value,
        without effect.
    :ivar entries: Names of the functions at which CBMC starts, without `prove_`.
    """

    name: str
    fields: dict[str, list[str]]
    entries: list[str]


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of a harness for one entry.

    :ivar properties: Number of checked properties, without witnesses; 0 if there is no verdict.
    :ivar witnesses: Number of witnesses, which some input must reach.
    :ivar failures: Violated properties and unreached witnesses; or the reason for no verdict.
    """

    name: str
    properties: int
    witnesses: int
    seconds: float
    failures: tuple[str, ...]

    def __str__(self) -> str:
        head = (
            f"{self.name:24} {'FAILED' if self.failures else 'proved'} {self.properties:5} "
            f"properties, {self.witnesses:2} witnesses, {self.seconds:6.1f} s"
        )
        return "\n".join([head, *self.failures])


def harnesses() -> dict[str, Harness]:
    """Return all harnesses, by their names."""
    found = {}
    for path in sorted(HERE.glob("*.c")):
        text = path.read_text()
        fields = _FIELD.findall(text.split("*/", 1)[0])
        words = {key: said.replace("\n *\t", " ").split() for key, said in fields}
        if entries := _ENTRY.findall(text):
            found[path.stem] = Harness(path.stem, words, entries)
    return found


def prove(names: Iterable[str] = ()) -> Iterator[Proof]:
    """Run the harnesses, by default all, and yield the result of each entry."""
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
    """Run the harnesses that the command line names, by default all.

    The exit status is 1 if a property does not hold, and 2 if there is no verdict.
    """
    status = 0
    for proof in prove(sys.argv[1:]):
        print(proof, flush=True)
        if proof.failures:
            status = 1 if proof.properties else 2
    sys.exit(status)


if __name__ == "__main__":
    main()
