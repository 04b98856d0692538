"""Tests of the patterns of files that a copy leaves out."""

from __future__ import annotations

import pytest

from microvm.errors import UsageError
from microvm.guest.exclusion import Exclusion


def test_path_may_begin_with_the_copied_folder() -> None:
    exclusion = Exclusion(["./build", "./src/*.o", "x/"])
    assert exclusion.matches("build")
    assert exclusion.matches("src/deep/a.o")
    assert exclusion.matches("deep/x")
    assert not exclusion.matches("deep/build")


@pytest.mark.parametrize("pattern", ["", "/", "./", ".", "/build", "../build", "a//b"])
def test_pattern_that_matches_no_file_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError, match="matches no file"):
        Exclusion([pattern])
