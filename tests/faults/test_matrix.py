"""Tests of each fault in each state: the error, its time, and that nothing remains."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from .check import nothing_left, uses_its_template
from .fault import FAULTS
from .matrix import NO_CLONES, MatrixCell, cells
from .state import FaultScene

pytestmark = pytest.mark.thorough

CHEAP = {
    "QEMU dies after its greeting, snapshotting",
    "QEMU is killed, starting",
    "QEMU is killed, greeting",
    "QEMU is killed, saving",
    "QEMU is killed, cloning",
    "QEMU is killed, flooding",
    "QEMU is killed, snapshotting",
    "QEMU is stopped, cloning",
    "the guest panics, executing",
    "the guest is out of memory, executing",
    "the guest floods before it answers, greeting",
}
"""The cells that `make check` runs. The other tests are long."""


def _marked(cell: MatrixCell) -> object:
    marks = [pytest.mark.deadline(2 * cell.row.within + 60)]
    if str(cell) not in CHEAP:
        marks.append(pytest.mark.long)
    return pytest.param(cell, marks=marks, id=str(cell).replace(" ", "-"))


@pytest.mark.parametrize("cell", [_marked(cell) for cell in cells()])
async def test_fault_has_the_expected_result(
    cell: MatrixCell,
    scene: FaultScene,
    templates: Path,
    temporary: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if cell.state == "saving" or cell.row.says == NO_CLONES:
        cache = tmp_path / "cache"
        if cell.state == "saving":
            shutil.copytree(templates / "programs", cache / "programs")
        else:
            shutil.copytree(templates, cache)
    else:
        cache = templates
    monkeypatch.setenv("MICROVM_CACHE", str(cache))
    with nothing_left(cache, temporary):
        begun = time.monotonic()
        text, hint = await _happens(cell, scene)
        seconds = time.monotonic() - begun
        if cell.row.says == NO_CLONES:
            (remembered,) = cache.glob("clone-*")
            remembered.unlink()
    assert cell.row.says in text
    assert cell.row.hint in hint
    assert seconds < cell.row.within
    await uses_its_template(scene)


async def _happens(cell: MatrixCell, scene: FaultScene) -> tuple[str, str]:
    """Cause the fault, and return the message and the hint that its user receives."""
    fault = FAULTS[cell.row.fault]
    if cell.row.error is None:
        await fault(scene, cell.state)
        assert len(scene.told) == bool(cell.row.says), scene.told
        return "".join(scene.told), ""
    with pytest.raises(cell.row.error) as caught:
        await fault(scene, cell.state)
    assert caught.type is cell.row.error
    assert caught.value.hint, "an error says what to do"
    return caught.value.message, caught.value.hint
