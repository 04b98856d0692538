"""The tests that `make test` leaves out, because they take long or need other tools: a plugin.

These tests have the mark `thorough`. `make rest` runs only them. If all tests of a module have the
mark, the module contains `pytestmark = pytest.mark.thorough`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

_ALL = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.thorough\b", re.MULTILINE)
_ANY = "pytest.mark.thorough"
_MARKED_BY_CONFTEST = {"host", "interpreter"}  # with a second event loop or Python
_WITHOUT, _ONLY = "not thorough", "thorough and "

_left_out = pytest.StashKey[list[int]]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no module if the option `-m` excludes all of its tests; this saves half a minute."""
    selected = config.getoption("markexpr")
    if not re.fullmatch(r"test_\w+\.py", collection_path.name):
        return None
    if selected.startswith(_WITHOUT) and _ALL.search(collection_path.read_text()):
        _counts(config)[0] += 1
        return True
    if selected.startswith(_ONLY) and collection_path.parent.name not in _MARKED_BY_CONFTEST:
        return None if _ANY in collection_path.read_text() else True
    return None


class Summary:
    """The part of the plugin that counts what was left out, in every process of pytest-xdist."""

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count the tests that the option `-m` excludes."""
        for item in items:
            _counts(item.config)[1] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the counts of a worker to the process that prints them."""
        if (output := getattr(session.config, "workeroutput", None)) is not None:
            output["left_out"] = _counts(session.config)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the counts of a worker; all workers count the same."""
        if counts := getattr(node, "workeroutput", {}).get("left_out"):
            node.config.stash[_left_out] = counts

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what `make test` has left out, and which command runs it."""
        config = terminalreporter.config
        modules, tests = _counts(config)
        if config.getoption("markexpr").startswith(_WITHOUT) and modules:
            terminalreporter.write_line(
                f"left out: {modules} files of tests and {tests} other tests, which take long or "
                "need more tools; linters, types, other Pythons. To run all of this: make check"
            )


def _counts(config: pytest.Config) -> list[int]:
    """Return the numbers of modules and of other tests that were left out, to be changed."""
    return config.stash.setdefault(_left_out, [0, 0])
