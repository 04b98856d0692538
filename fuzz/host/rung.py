"""The rung that plays scripts to the host for a time, and saves those that fail."""

from __future__ import annotations

import re
import time

from hypothesis import Phase, given, seed, settings

from ..outcome import Outcome
from ..report import keep
from ..settings import SETTINGS
from .checks import Violation
from .endings import ENDINGS, ending
from .harness import play
from .script import CORPUS, Script, corpus
from .strategies import scripts

_BATCH = 200
"""The examples of one call of Hypothesis; the clock is read between two calls."""

_MOST = 5
"""The number of kinds of findings after which the rung stops."""

_SHRINKING = 10.0
"""Seconds more that a finding may take to be made small."""

_PHASES = [Phase.generate, Phase.shrink]


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz for so many seconds; what is known comes first."""
    began = time.monotonic()
    fuzzer = _Fuzzer(began + seconds)
    scripts_known = known()
    for name, script in scripts_known.items():
        try:
            fuzzer.play(script)
        except Exception as error:  # noqa: BLE001, RUF100 - whatever it is, it is a finding
            fuzzer.findings[_kind(error)] = f"{name}: {error}"
    batch = 0
    while time.monotonic() < fuzzer.until and len(fuzzer.findings) < _MOST:
        fuzzer.search(hash((seed, batch)))
        batch += 1
    return Outcome(
        fuzzer.executions,
        fuzzer.frames,
        time.monotonic() - began,
        tuple(fuzzer.findings.values()),
        f"{len(scripts_known)} scripts replayed, {batch} batches",
    )


def known() -> dict[str, Script]:
    """Return what has failed before, and one script for each way in which a guest is lost."""
    failed = {path.name: Script.from_json(path.read_text()) for path in corpus()}
    return failed | {name: ending(name) for name in ENDINGS}


class _Fuzzer:
    """A fuzzer of the host, which counts what it plays and keeps one finding of a kind."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.executions = 0
        self.frames = 0
        self.findings: dict[str, str] = {}

    def play(self, script: Script) -> None:
        self.executions += 1
        self.frames += play(script).recorder.frames

    def search(self, number: int) -> None:
        """Play one batch; what it finds is made small, and saved."""
        smallest: list[tuple[Script, Exception]] = []

        @settings(SETTINGS, max_examples=_BATCH, database=None, print_blob=False, phases=_PHASES)
        @seed(number)
        @given(script=scripts())
        def examples(script: Script) -> None:
            if time.monotonic() > self.until + (_SHRINKING if smallest else 0):
                return
            try:
                self.play(script)
            except Exception as error:
                if _kind(error) in self.findings:
                    return
                smallest[:] = [(script, error)]
                raise

        try:
            examples()
        except Exception as error:  # noqa: BLE001, RUF100 - whatever it is, it is a finding
            if smallest:
                script, found = smallest[0]
                path = keep(script.to_json().encode(), _kind(found), CORPUS, ".json")
                self.findings[_kind(found)] = f"{path.name}: {found}"
            else:
                self.findings[_kind(error)] = repr(error)


def _kind(error: Exception) -> str:
    """Return what an error says, without its numbers, in few words: a name of a file, too."""
    text = str(error) if isinstance(error, Violation) else repr(error)
    return " ".join(re.findall("[a-z]+", text.lower())[:8])
