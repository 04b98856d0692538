"""Check the models of sandboxd and of file transfers, and print a table: `python -m fuzz.model`."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from itertools import groupby
from pathlib import Path

from microvm_proto.resolve import read_schema

from .spin import CHECKS, Check, Spin


def main() -> int:
    """Print a row for each check; return the exit status, 1 if there is a fault."""
    print("| check | model | channels | properties | states | time | memory |")
    print("|---|---|---|---|---|---|---|")
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for source, checks in groupby(CHECKS, lambda check: check.source):
            spin = Spin(read_schema(source), Path(folder))
            for check in checks:
                failed |= bool(_row(spin, check))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"\n{used.ru_utime + used.ru_stime:.0f} seconds of one core")
    return failed


def _row(spin: Spin, check: Check) -> str:
    """Print the row of a check; return the fault, or nothing."""
    started = time.monotonic()
    result = spin.check(check)
    measured = (
        f"{result.states:,}",
        f"{time.monotonic() - started:.1f} s",
        f"{result.megabytes:.0f} MB",
    )
    row = (check.name, check.part.lower() or check.schema, check.channel, check.words, *measured)
    print(f"| {' | '.join(map(str, row))} |", flush=True)
    if result.fault:
        print(result, file=sys.stderr)
    return result.fault


if __name__ == "__main__":
    sys.exit(main())
