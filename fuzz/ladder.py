"""The rungs, from the decoders alone to the real guest; each is run in a process of its own.

A rung may be ended by what it finds: undefined behaviour in a library, a fuzzer that hangs. That is
then the finding, and the next rung is not disturbed.
"""

from __future__ import annotations

import json
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support import signals

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


LADDER = (
    Rung("decoder", "the decoders in C, under libFuzzer", "fuzz.decoder.fuzzer:run", 0.2),
    Rung("differential", "Python's decoder beside C's", "fuzz.differential.compare:run", 0.2),
    Rung("daemon", "the daemon as a process", "fuzz.daemon.rung:run", 0.25),
    Rung("guest", "the daemon in a real guest", "fuzz.daemon.rung:run_in_guest", 0.25),
    Rung("host", "the host, with a scripted guest", "fuzz.host.rung:run", 0.1),
    Rung("proofs", "CBMC", "fuzz.proofs.prove:run", 0.0),
)


def climb(rung: Rung, seconds: float, seed: int) -> Outcome:
    """Run a rung in a process of its own, which ends at the latest when its time and SLACK have."""
    with tempfile.NamedTemporaryFile() as last:
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.ladder", rung.name, str(seconds), str(seed)],
            env={**os.environ, LAST: last.name},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=seconds + SLACK)
        except subprocess.TimeoutExpired:
            return Outcome(0, 0, seconds, ["it did not come to its end"])
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with what it has started
                process.communicate()
        if process.returncode == 0:
            return Outcome(**json.loads(out.splitlines()[-1]))
        said = (err + out).decode(errors="replace")
        finding = f"status {process.returncode}: {said[-4000:]}"
        if data := Path(last.name).read_bytes():
            finding += f"\n{keep(data, f'ends rung {rung.name}').name}\n{explained(data)}"
        return Outcome(0, 0, seconds, [finding])


def main() -> None:
    """Run the rung that the arguments name, and write its outcome as a line of JSON."""
    signals.restore()
    name, seconds, seed = sys.argv[1:]
    [rung] = (each for each in LADDER if each.name == name)
    try:
        outcome = pkgutil.resolve_name(rung.function)(float(seconds), int(seed))
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        print(f"the rung {name} cannot be built: {error}", file=sys.stderr)
        sys.exit(UNBUILT)
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
