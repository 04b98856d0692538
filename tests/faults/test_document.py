"""Tests that docs/faults.md matches the matrix."""

from __future__ import annotations

from .document import HEAD, PAGE, STATES_HEAD
from .fault import FAULTS
from .matrix import MATRIX, cells
from .state import STATES


def test_page_has_the_tables_of_faults() -> None:
    page = PAGE.read_text()
    assert STATES_HEAD in page
    assert HEAD in page


def test_each_fault_is_in_the_matrix_and_each_cell_once() -> None:
    assert {row.fault for row in MATRIX} == FAULTS.keys()
    names = [(cell.row.fault, cell.state) for cell in cells()]
    assert len(set(names)) == len(names)
    assert {state for _, state in names} <= STATES.keys()
