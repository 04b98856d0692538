"""Rung E: the host against a scripted guest that lies, for a time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from .hostile.encounter import meet
from .hostile.lies import scripts
from .hostile.script import CORPUS, Script, corpus
from .hostile.verdict import Violation
from .outcome import Outcome

_BATCH = 200
"""Examples of one call of Hypothesis; between two the time is looked at."""

_MOST = 5
"""Findings after which it stops: more would be the same again."""

SETTINGS = settings(
    deadline=None,  # each call has its own, which is what is tested
    database=None,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz for so many seconds; what has failed before comes first."""
    began = time.monotonic()
    executions = frames = 0
    findings: list[str] = []

    def play(script: Script) -> None:
        nonlocal executions, frames
        executions += 1
        frames += meet(script).witness.frames

    for path in corpus():
        try:
            play(Script.from_json(path.read_text()))
        except AssertionError as error:
            findings.append(f"{path.name}: {error}")
    batch = 0
    while time.monotonic() - began < seconds and len(findings) < _MOST:
        if found := _search(play, seed + batch, began + seconds):
            findings.append(found)
        batch += 1
    notes = f"{len(corpus())} scripts replayed, {batch} batches"
    taken = time.monotonic() - began
    return Outcome("E hostile", executions, frames, taken, seed, tuple(findings), notes)


def _search(play: Callable[[Script], None], number: int, until: float) -> str | None:
    """One batch; what it finds is made small and saved."""
    smallest: list[tuple[Script, str]] = []

    @settings(SETTINGS, max_examples=_BATCH, phases=[Phase.generate, Phase.shrink])
    @seed(number)
    @given(script=scripts())
    def examples(script: Script) -> None:
        if time.monotonic() > until and not smallest:
            return
        try:
            play(script)
        except Exception as error:
            smallest[:] = [(script, _reason(error))]
            raise

    try:
        examples()
    except Exception as error:  # noqa: BLE001, RUF100 - whatever it is, it is a finding
        if not smallest:
            return _reason(error)
        script, reason = smallest[0]
        return f"{save(script, reason).name}: {reason}"
    return None


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, Violation) else f"{type(error).__name__}: {error}"


def save(script: Script, reason: str, folder: Path = CORPUS) -> Path:
    """Write what has failed into the corpus, by a name that says how."""
    kept = "".join(char if char.isalnum() and char.isascii() else " " for char in reason.lower())
    words = "-".join(kept.split()[:8])
    text = script.to_json()
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{words}-{digest}.json"
    path.write_text(text)
    return path
