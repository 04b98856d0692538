"""The pytest plugin for fuzzing: the option for the time, the seed, and the summary.

A rung is a folder of tests marked `rung`, which fuzz one part. The tests that search for failures
share the time of `--fuzz-seconds` equally.
"""

from __future__ import annotations

import os
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from tests.support import checkout_cache, signals
from tests.support.judged import judge, trace_model
from tests.support.selection import pytest_ignore_collect

from .search import Search

__all__ = ("judge", "pytest_ignore_collect", "trace_model")

signals.restore()  # because the processes that the rungs start inherit the settings

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        metavar="SECONDS",
        help="Total time to fuzz, without the time to compile, to boot and to prove.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose a seed, always the same in CI, unless an option or pytest-xdist gives one.

    Use the cache of the tests.
    """
    checkout_cache.use()
    given = config.getoption("--hypothesis-seed") or getattr(config, "workerinput", {}).get("seed")
    is_fixed = os.environ.get("CI") == "true"
    config.stash[_SEED] = int(given or (1 if is_fixed else random.SystemRandom().randrange(2**31)))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Give a worker of pytest-xdist the seed that the header shows."""
    node.workerinput["seed"] = node.config.stash[_SEED]


def pytest_report_header(config: pytest.Config) -> str:
    """Print the option that repeats this search."""
    return f"fuzz: --hypothesis-seed={config.stash[_SEED]}"


@pytest.fixture
def search(request: pytest.FixtureRequest) -> Search:
    """Return the search of a test, with the seed and the test's share of the time."""
    seconds = request.config.getoption("--fuzz-seconds")
    parts = sum("search" in getattr(item, "fixturenames", ()) for item in request.session.items)
    return Search(request.config.stash[_SEED], seconds and seconds / parts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the time and the counts of each rung, like the table in docs/fuzzing.md."""
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
