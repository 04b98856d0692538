"""Builds of the C decoders for fuzzing, for comparison, and for the measurement of coverage."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support import encoders

from ..report import ROOT, schema

GUEST = ROOT / "guest"

_FLAGS = f"-std=c11 -D_DEFAULT_SOURCE -g -Wall -Wextra -Wconversion -Werror -I{GUEST}"
_REPLAY = Path(__file__).with_name("replay.c")


def build(out: Path, compiler: str, flags: str, runner: Path = _REPLAY) -> Path:
    """Compile the decoders with a program that runs them, and return the path `out`."""
    again = out.parent / "again.c"  # a separate file, because the coverage excludes encoders
    again.write_text(f'#include "protocol.h"\n\n{encoders.again(schema())}')
    command: list[str | Path] = [compiler, *_FLAGS.split(), "-o", out, runner, again]
    command += [GUEST / "session.c", GUEST / "stream.c", *flags.split()]
    subprocess.run(command, check=True, timeout=120)
    return out


def unreached(inputs: Sequence[Path]) -> list[str]:
    """Return the lines of the decoders that the inputs do not reach with all their branches.

    The functions that follow conversations are left out: a daemon meets no message in most of their
    states, and tests/codegen/test_conversations_in_c.py calls them with every message and state.
    """
    where = subprocess.run(["clang", "-print-runtime-dir"], check=True, capture_output=True).stdout
    runner = f"{where.decode().strip()}/libclang_rt.fuzzer-{platform.machine()}.a"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        binary = build(folder / "counting", "gcc", f"-O0 --coverage {runner} -lstdc++ -lm")
        subprocess.run([binary, *inputs], check=True, capture_output=True, timeout=300)
        for counts in folder.glob("*again.gc*"):
            counts.unlink()
        command: list[str | Path] = [sys.executable, "-m", "gcovr", "--root", GUEST, folder]
        command += ["--json"]
        counted = subprocess.run(command, check=True, capture_output=True, timeout=120)
    return [
        f"{file['file']}:{line['line_number']}"
        for file in json.loads(counted.stdout)["files"]
        for line in file["lines"]
        if not line["function_name"].startswith(("sandboxd_follow_", "sandboxd_allows_ids"))
        and not (line["count"] and all(branch["count"] for branch in line["branches"]))
    ]
