"""Tests of the list of test files that `make test-kvm` runs, without the emulated machine."""

from __future__ import annotations

from pathlib import Path

from tests.kvm.plan import LEFT_OUT, TESTS
from tests.kvm.results import FileResult, FileResults

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


def test_only_results_of_passed_files_are_kept(tmp_path: Path) -> None:
    results = FileResults(tmp_path / "kvm")
    output = "..s\n===== 2 passed, 1 skipped in 3.21s =====\n"
    good = FileResult.of("tests/vm/test_a.py", 0, 3.3, output)
    assert (good.passed, good.failed, good.skipped, good.is_good) == (2, 0, 1, True)
    assert results.store(good, output).read_text() == output
    assert results.recall(good.name) == good
    for status, last in ((1, "1 failed, 1 passed, 2 errors in 1s"), (0, "3 skipped in 1s")):
        bad = FileResult.of("tests/vm/test_b.py", status, 3.3, last)
        results.store(bad, last)
        assert not bad.is_good
        assert results.recall(bad.name) is None
