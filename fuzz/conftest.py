"""The fuzzing as pytest runs it: the time and the seed of a search, and what each rung has done.

A rung is its tests marked `rung`; those that search share the time of `--fuzz-seconds` equally.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.support import signals

from .search import Search

signals.restore()  # what the rungs start inherits them

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the time."""
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        metavar="SECONDS",
        help="Fuzz for so long in all; compiling, booting and proving come on top.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose a seed, always the same in CI, unless an option or pytest-xdist gives one."""
    given = config.getoption("--hypothesis-seed") or getattr(config, "workerinput", {}).get("seed")
    is_fixed = os.environ.get("CI") == "true"
    config.stash[_SEED] = int(given or (1 if is_fixed else random.SystemRandom().randrange(2**31)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of pytest-xdist the seed that the header shows."""
    node.workerinput["seed"] = node.config.stash[_SEED]


def pytest_report_header(config: pytest.Config) -> str:
    """Say how to search the same again."""
    return f"fuzz: --hypothesis-seed={config.stash[_SEED]}"


@pytest.fixture
def search(request: pytest.FixtureRequest) -> Search:
    """Give a search its seed, and its part of the time."""
    seconds = request.config.getoption("--fuzz-seconds")
    parts = sum("search" in getattr(item, "fixturenames", ()) for item in request.session.items)
    return Search(request.config.stash[_SEED], seconds and seconds / parts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what each rung did, by the columns of the table in docs/fuzzing.md."""
    seconds: defaultdict[str, float] = defaultdict(float)
    did: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        rung = Path(report.nodeid.split("::")[0]).parent.name
        seconds[rung] += report.duration
        for name, count in report.user_properties:
            did[rung][name] += count
    if did:
        terminalreporter.write_line("\n| rung | time | what it did |\n|---|---|---|")
    for rung, counts in did.items():
        what = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        terminalreporter.write_line(f"| {rung} | {seconds[rung]:.0f} s | {what} |")
