"""The decoders in C, built to be fuzzed, to be a library, or to count what is reached of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import encoders

from microvm_proto.resolve import read_schema

from ..report import ROOT, SCHEMA

GUEST = ROOT / "guest"
HERE = Path(__file__).parent

_FLAGS = f"-std=c11 -D_DEFAULT_SOURCE -g -Wall -Wextra -Wconversion -Werror -I{GUEST} -I{HERE}"
_SOURCES = (HERE / "replay.c", GUEST / "session.c", GUEST / "stream.c")
_COUNTED = ("session.c", "stream.c", "protocol.h")


def build(out: Path, compiler: str, flags: str, *more: str) -> Path:
    """Compile the decoders, and what they are run by, into `out`.

    :raises FileNotFoundError: there is no such compiler.
    """
    again = out.parent / "again.c"
    again.write_text(_again())
    sources = [*_SOURCES, again, *(HERE / name for name in more)]
    options = [*_FLAGS.split(), *flags.split()]
    subprocess.run([compiler, *options, "-o", out, *sources], check=True, timeout=120)
    return out


def _again() -> str:
    """C that encodes what has been decoded; by itself, as encoders are not counted."""
    cases = encoders.cases(
        read_schema(SCHEMA),
        header="frame->header",
        body="frame->body",
        into="out",
        version="version",
    )
    return (
        '#include "replay.h"\n\n'
        "size_t again(uint8_t *out, uint32_t version, const struct frame *frame)\n{\n"
        "\tsize_t encoded = 0;\n\n\tswitch (frame->header.type) {\n"
        f"{cases}\t}}\n\treturn encoded;\n}}\n"
    )


@dataclass(frozen=True, slots=True)
class Coverage:
    """The coverage of the C decoders.

    :ivar lines: how many there are and how many of them are reached; `branches` their ways.
    :ivar report: the lines that are missed, as gcovr writes them.
    """

    lines: tuple[int, int]
    branches: tuple[int, int]
    report: str

    @property
    def is_whole(self) -> bool:
        """Whether all are reached."""
        return self.lines[0] == self.lines[1] and self.branches[0] == self.branches[1]

    def __str__(self) -> str:
        """Say it in percent."""
        (lines, ran), (ways, taken) = self.lines, self.branches
        return f"{100 * ran // lines}% of {lines} lines, {100 * taken // ways}% of {ways} branches"


def measure(folder: Path, inputs: Sequence[Path]) -> Coverage:
    """Run inputs through the decoders, and count what that reaches.

    :raises FileNotFoundError: gcc or gcovr is not installed.
    """
    binary = build(folder / "counting", "gcc", "-O0 --coverage", "fuzzer.c", "main.c")
    for counts in folder.glob("*.gcda"):
        counts.unlink()
    subprocess.run([binary, *inputs], check=True, capture_output=True, timeout=300)
    for counts in folder.glob("*again.gc*"):
        counts.unlink()
    command: list[str | Path] = [sys.executable, "-m", "gcovr", "--root", GUEST, folder]
    command += ["--json-summary", "-", "--txt", folder / "report"]
    command += [f"--filter={GUEST / name}" for name in _COUNTED]
    said = subprocess.run(command, check=True, capture_output=True, timeout=120)
    found = json.loads(said.stdout)
    return Coverage(
        (found["line_total"], found["line_covered"]),
        (found["branch_total"], found["branch_covered"]),
        (folder / "report").read_text(),
    )
