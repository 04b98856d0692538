"""The rungs, from the decoders alone to the real guest; each is run in a process of its own.

A rung may be ended by what it finds: undefined behaviour in a library, a fuzzer that hangs. That is
then the finding, and the next rung is not disturbed.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from .outcome import Outcome
from .report import LAST, explained, keep

SLACK = 900.0
"""Seconds that a rung may take beyond its time: to compile, boot, prove, show what it found."""

UNBUILT = 3
"""The status of a rung that could not be built: what it is to find, it has not looked for."""


@dataclass(frozen=True, slots=True)
class Rung:
    """A rung, and its share of the time.

    :ivar function: `module:name` of what runs it: from seconds and a seed to an outcome.
    """

    name: str
    title: str
    function: str
    share: float

    def climb(self, seconds: float, seed: int) -> Outcome:
        """Run it in this process."""
        module, _, name = self.function.partition(":")
        run = getattr(importlib.import_module(f"fuzz.{module}"), name)
        return cast(Callable[[float, int], Outcome], run)(seconds, seed)


LADDER = (
    Rung("A", "the decoders in C, under libFuzzer", "decoder.fuzzer:run", 0.2),
    Rung("B", "Python's decoder beside C's", "differential.compare:run", 0.2),
    Rung("C", "the daemon as a process", "daemon.explore:run_process", 0.25),
    Rung("D", "the real guest", "daemon.explore:run_guest", 0.25),
    Rung("E", "the host, with a guest that lies", "host.rung:run", 0.1),
    Rung("F", "proofs", "proofs.prove:run", 0.0),
)


def climb_apart(rung: Rung, seconds: float, seed: int) -> Outcome:
    """Run a rung in a process of its own, which ends with this one's patience."""
    with tempfile.NamedTemporaryFile() as last:
        return _climb(rung, seconds, seed, Path(last.name))


def _climb(rung: Rung, seconds: float, seed: int, last: Path) -> Outcome:
    process = subprocess.Popen(
        [sys.executable, "-m", "fuzz.ladder", rung.name, str(seconds), str(seed)],
        env={**os.environ, LAST: str(last)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds + SLACK)
    except subprocess.TimeoutExpired:
        return _ended(rung, seconds, seed, "it did not come to its end")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started
            process.communicate()
    if process.returncode:
        said = (err + out).decode(errors="replace")
        finding = f"status {process.returncode}: {said[-4000:]}"
        if data := last.read_bytes():
            finding += f"\n{keep(data, f'ends rung {rung.name}').name}\n{explained(data)}"
        return _ended(rung, seconds, seed, finding)
    outcome = json.loads(out.splitlines()[-1])
    return Outcome(**{**outcome, "findings": tuple(outcome["findings"])})


def _ended(rung: Rung, seconds: float, seed: int, finding: str) -> Outcome:
    return Outcome(rung.name, 0, 0, seconds, seed, (finding,))


def main() -> None:
    """Run the rung that the arguments name, and write its outcome as a line of JSON."""
    name, seconds, seed = sys.argv[1:]
    [rung] = (each for each in LADDER if each.name == name)
    try:
        outcome = rung.climb(float(seconds), int(seed))
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"rung {name} cannot be built: {error}", file=sys.stderr)
        sys.exit(UNBUILT)
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
