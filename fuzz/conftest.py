"""Seeds and the corpus, named at the head of each run."""

from __future__ import annotations

from tests.support import signals

from .report import corpus
from .settings import SETTINGS

signals.restore()


def pytest_report_header() -> str:
    """Say whether the examples are always the same."""
    fixed = "fixed" if SETTINGS.derandomize else "random; CI=true for fixed ones"
    return f"fuzz: seeds are {fixed}; {len(corpus())} files in the corpus"
