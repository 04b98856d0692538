"""Tests of the list of test files that `make test-kvm` runs, without the emulated machine."""

from __future__ import annotations

from pathlib import Path

from tests.kvm.plan import LEFT_OUT, TESTS

ROOT = Path(__file__).parents[2]


def test_each_file_runs_or_is_left_out_for_a_reason() -> None:
    running = [each.path for each in TESTS]
    assert all((ROOT / path).is_file() for path in running)
    assert len(running) == len(set(running))
    files = {
        path.relative_to(ROOT).as_posix()
        for folder in ("vm", "qemu", "kvm")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
    }
    assert files - set(running) == LEFT_OUT.keys()
