"""The counts of what is done, which no clock and no other load disturbs.

Instructions and system calls are callgrind's; of the daemon, which is a process of this host, the
least of some runs, as what it finds to do at once is now more and now less.
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
"""Numbers by what they are of."""

_HERE = Path(__file__).parent

_STARTS, _EXECS = 3, 100
_RUNS, _MIB = 10, 8

_CALLGRIND = ("valgrind", "-q", "--tool=callgrind", "--collect-systime=usec")
_TOTALS = re.compile(r"^totals: (\d+) (\d+)", re.MULTILINE)


def controller() -> Counts:
    """Count what the controller does for a start, with the machine's end, and for an exec."""
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
    """Count the modules that `microvm run` imports."""
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
    """Count what the daemon does for an exec, and for a MiB each way."""
    acts = (*[_run] * _RUNS, *[_read] * _RUNS, *[_write] * _RUNS, _run)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        binary = folder / "sandboxd"
        shim = f"musl-gcc -include {_HERE / 'fork.h'} -idirafter /usr/include"
        _do("make", "-s", "-C", GUEST, binary, f"OUT={folder}", f"CC={shim}")
        sandboxd = Daemon(binary, prefix=[*_CALLGRIND, f"--callgrind-out-file={folder}/out"])
        try:
            sandboxd.hello()
            for act in acts:
                act(sandboxd)
        finally:
            sandboxd.close()
        # Each is from the making of one child to that of the next.
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
    # Python's sets have an order of their own in each process, and the cache is to be looked for in
    # one way, whoever has named it.
    same = {"PYTHONHASHSEED": "0", "MICROVM_CACHE": str(cache.root())}
    subprocess.run(command, env={**os.environ, **same}, check=True, timeout=300)


def _less(more: list[int], less: list[int]) -> list[int]:
    return [large - small for large, small in zip(more, less, strict=True)]


def _run(sandboxd: Daemon) -> None:
    assert sandboxd.run(b"true").exit_code == 0


def _read(sandboxd: Daemon) -> None:
    assert len(sandboxd.run_sh(f"head -c {_MIB}M /dev/zero").stdout) == _MIB << 20


def _write(sandboxd: Daemon) -> None:
    """Write frames that the daemon takes one by one."""
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
    """Return the instructions and the system calls that callgrind has counted."""
    found = _TOTALS.search(out.read_text())
    assert found, out
    return [int(each) for each in found.groups()]


def _each(what: str, counts: list[int], number: int) -> dict[str, int]:
    names = (f"instructions of {what}", f"system calls of {what}")
    return {name: round(count / number) for name, count in zip(names, counts, strict=True)}
