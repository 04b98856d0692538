"""Tests of patterns of paths in the guest, and of paths that a hostile guest returns for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from microvm.cli import matching_files
from microvm.errors import FileError, MicroVMError, UsageError
from microvm.guest.pattern import Pattern


@pytest.mark.parametrize(
    ("text", "base", "components"),
    [
        ("out/*.csv", "out/", ("*.csv",)),
        ("/a/b?/../c", None, ()),
        ("../x/./[a]//b/", "../x/./", ("[a]", "b")),
        ("**/**/./**/x", "", ("**", "x")),
        ("/*", "/", ("*",)),
        ("plain/name", "plain/", ("name",)),
    ],
)
def test_pattern_is_split_before_its_first_special_character(
    text: str, base: str | None, components: tuple[str, ...]
) -> None:
    if base is None:
        with pytest.raises(UsageError, match=r"a pattern has no \.\. after"):
            Pattern.parse(text)
        return
    pattern = Pattern.parse(text)
    assert (pattern.base, pattern.components) == (base, components)
    assert pattern.needs_folder == text.endswith("/")


@pytest.mark.parametrize(
    "sent",
    ["conftest.py", ".hidden.csv", "../x.csv", "/x.csv", "a/x.csv", "", "x.csv/", "./x.csv", ".."],
)
def test_path_that_does_not_match_is_refused(sent: str) -> None:
    with pytest.raises(FileError, match=r"out/\*\.csv: the guest sent .* which does not match"):
        Pattern.parse("out/*.csv").path_of(sent.encode())
    with pytest.raises(FileError):
        Pattern.parse("**/*.csv").path_of(b"a/../x.csv")


def test_long_hostile_path_is_refused_in_time() -> None:
    pattern = Pattern.parse("**/a/**/a/**/a/**/a/**/b")
    with pytest.raises(FileError, match="does not match"):
        pattern.path_of(b"a/" * 2000 + b"c")


def test_match_is_not_written_through_a_link_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "target"
    target.mkdir()
    (target / "link").symlink_to(tmp_path / "elsewhere")
    for path in ("link/x.csv", "link"):
        with pytest.raises(MicroVMError, match="because it is a link to another folder"):
            matching_files._folder_of(target, path)
    assert matching_files._folder_of(target, "new/x.csv") == target / "new"
    assert not list((tmp_path / "elsewhere").iterdir())
