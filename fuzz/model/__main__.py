"""Check the model of sandboxd, and print a table: `python -m fuzz.model`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from microvm_proto.resolve import read_schema

from ..report import SCHEMA
from .spin import CHECKS, Spin


def main() -> int:
    """Print a row for each check; return the exit status, 1 if there is a fault."""
    print("| check | part | channels | properties | states | time | memory |")
    print("|---|---|---|---|---|---|---|")
    failed = False
    for check in CHECKS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            result = Spin(read_schema(SCHEMA), Path(folder)).check(check)
        measured = (
            f"{result.states:,}",
            f"{time.monotonic() - started:.1f} s",
            f"{result.megabytes:.0f} MB",
        )
        row = (check.name, check.part.lower(), check.channel, check.words, *measured)
        print(f"| {' | '.join(map(str, row))} |", flush=True)
        if result.fault:
            print(result, file=sys.stderr)
            failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main())
