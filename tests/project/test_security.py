"""Tests that docs/security.md matches the code."""

from __future__ import annotations

import re

from microvm.qemu import confinement

from .confinement import PAGE


def test_figures_of_the_security_page_are_in_the_code() -> None:
    """The numbers in the text are those in the code."""
    page = " ".join(PAGE.read_text().split())
    for figure in (
        f"a uid from {confinement.UIDS:,} on",
        f"| the guest's memory and {confinement._ADDRESS_SPACE >> 30} GiB;",
        f"| open files | {confinement._OPEN_FILES},",
        f"| threads | {confinement._THREADS},",
        f"twice the guest's memory, and {confinement._OVERHEAD >> 30} GiB",
    ):
        assert figure in page, figure


def test_tests_of_each_invariant_exist() -> None:
    _, _, rest = PAGE.read_text().partition("## Invariants")
    rows = re.findall(r"^\| \d+ \| .* \| (.*) \|$", rest, re.MULTILINE)
    assert len(rows) > 10
    for row in rows:
        tests = re.findall(r"\[(\w+)(?:\.py)?\]\(\.\./([\w/]+\.py)\)", row)
        assert tests, row
        for name, path in tests:
            text = (PAGE.parents[1] / path).read_text()
            assert f"def {name}(" in text or path.endswith(f"/{name}.py"), name
