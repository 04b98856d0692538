"""The counts, which neither the clock nor other load disturbs.

callgrind counts instructions and system calls. The daemon runs as a process of this host. Its count
is the minimum of several runs, because it handles a varying number of events at once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.support.daemon import GUEST, Daemon

from microvm import cache
from microvm.wire import codec

from . import imports

Counts = Mapping[str, int]
"""Counts by the name of the counted thing."""

_HERE = Path(__file__).parent

_STARTS, _EXECS = 3, 100
_RUNS, _MIB = 10, 8

_CALLGRIND = ("valgrind", "-q", "--tool=callgrind", "--collect-systime=usec")
_TOTALS = re.compile(r"^totals: (\d+) (\d+)", re.MULTILINE)


def controller() -> Counts:
    """Count the instructions of the controller for a start with its end, and for a command."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        library = folder / "span.so"
        _do("gcc", "-shared", "-fPIC", "-o", library, _HERE / "span.c")
        _do(
            *(*_CALLGRIND, "--instr-atstart=no", f"--callgrind-out-file={folder}/out"),
            *(sys.executable, "-P", _HERE / "controller.py", library, str(_STARTS), str(_EXECS)),
        )
        return {
            **_each("a start", _totals(folder / "out.1"), _STARTS),
            **_each("an exec", _totals(folder / "out.2"), _EXECS),
        }


def modules() -> Counts:
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "imports"
        _do(sys.executable, "-P", _HERE / "imports.py", listed, "run", "--", "true")
        names = listed.read_text().splitlines()
    before = names[: names.index(imports.SPAWNED)]
    return {
        "modules before QEMU is spawned": len(set(before)),
        "modules in all": len({*names} - {imports.SPAWNED}),
    }


def daemon() -> Counts:
    """Count the instructions of the daemon for a command, and for a MiB in each direction."""
    acts = (*[_run] * _RUNS, *[_read] * _RUNS, *[_write] * _RUNS, _run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        binary = folder / "sandboxd"
        shim = f"gcc -include {_HERE / 'fork.h'}"
        _do("make", "-s", "-C", GUEST, binary, f"OUT={folder}", f"CC={shim}")
        sandboxd = Daemon(binary, prefix=[*_CALLGRIND, f"--callgrind-out-file={folder}/out"])
        try:
            sandboxd.hello()
            for act in acts:
                act(sandboxd)
        finally:
            sandboxd.close()
        # Each count is from one fork to the next.
        spans = [_totals(folder / f"out.{number + 2}") for number in range(3 * _RUNS)]
    run, read, write = (
        [min(each) for each in zip(*spans[first : first + _RUNS], strict=True)]
        for first in range(0, len(spans), _RUNS)
    )
    return {
        **_each("an exec", run, 1),
        **_each("a MiB of output", _less(read, run), _MIB),
        **_each("a MiB of input", _less(write, run), _MIB),
    }


def _do(*command: str | Path) -> None:
    # A fixed hash seed gives sets the same order in each process. The cache is always looked for in
    # the same way.
    same = {"PYTHONHASHSEED": "0", "MICROVM_CACHE": str(cache.root())}
    subprocess.run(command, env={**os.environ, **same}, check=True, timeout=300)


def _less(more: list[int], less: list[int]) -> list[int]:
    return [large - small for large, small in zip(more, less, strict=True)]


def _run(sandboxd: Daemon) -> None:
    assert sandboxd.run(b"true").exit_code == 0


def _read(sandboxd: Daemon) -> None:
    assert len(sandboxd.run_sh(f"head -c {_MIB}M /dev/zero").stdout) == _MIB << 20


def _write(sandboxd: Daemon) -> None:
    """Write frames that the daemon reads one by one."""
    id_ = sandboxd.sh("exec cat >/dev/null", fed=True)
    left, credit = _MIB << 20, 0
    while left:
        credit += sandboxd.wait_credit() if credit == 0 else 0
        size = min(left, credit, codec.ExecStdin.MAX_BODY)
        sandboxd.feed(id_, bytes(size))
        left -= size
        given = [each for each in sandboxd.sync() if isinstance(each, codec.ExecStdinCredit)]
        credit += sum(each.amount for each in given) - size
    sandboxd.end_input(id_)
    sandboxd.receive_until(codec.ExecResponse)


def _totals(out: Path) -> list[int]:
    """Return the instructions and the system calls that callgrind counted."""
    found = _TOTALS.search(out.read_text())
    assert found, out
    return [int(each) for each in found.groups()]


def _each(what: str, counts: list[int], number: int) -> dict[str, int]:
    names = (f"instructions of {what}", f"system calls of {what}")
    return {name: round(count / number) for name, count in zip(names, counts, strict=True)}
