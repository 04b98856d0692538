"""The rung that plays scripts to the host for a time, and saves the one that fails."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import Phase, given, seed, settings

from ..disagreement import kind_of
from ..outcome import Outcome
from ..report import keep
from ..settings import SETTINGS
from .harness import play
from .known import CORPUS, known
from .script import Script
from .strategies import scripts

_BATCH = settings(
    SETTINGS,
    max_examples=200,  # the clock is read between two batches
    database=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
)

SHRINKING = 10.0
"""Seconds that a finding may take to be made small."""


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz for so many seconds, or until something is found; what is known comes first."""
    began = time.monotonic()
    frames: list[int] = []
    findings: list[str] = []

    def attempt(script: Script) -> None:
        frames.append(0)
        frames[-1] = play(script).frames

    for name, script in known().items():
        try:
            attempt(script)
        except Exception as error:  # noqa: BLE001, RUF100 - whatever it is, it is a finding
            findings.append(_told(name, error))
    batch = 0
    while not findings and time.monotonic() < began + seconds:
        findings += _search(attempt, hash((seed, batch)), began + seconds)
        batch += 1
    took = time.monotonic() - began
    return Outcome(len(frames), sum(frames), took, findings, f"{batch} batches")


def _search(attempt: Callable[[Script], None], number: int, until: float) -> list[str]:
    """Attempt one batch; what fails is made small, and saved."""
    smallest: list[tuple[Script, Exception]] = []

    @_BATCH
    @seed(number)
    @given(script=scripts())
    def examples(script: Script) -> None:
        nonlocal until
        if time.monotonic() > until:
            return
        try:
            attempt(script)
        except Exception as error:
            until = until if smallest else time.monotonic() + SHRINKING
            smallest[:] = [(script, error)]
            raise

    try:
        examples()
    except Exception:
        if not smallest:
            raise
        [(script, error)] = smallest
        path = keep(script.to_json().encode(), kind_of(error), CORPUS, ".json")
        return [_told(path.name, error)]
    return []


def _told(name: str, error: Exception) -> str:
    return "\n".join([f"{name}: {error}", *getattr(error, "__notes__", [])])
