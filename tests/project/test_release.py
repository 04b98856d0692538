"""Tests of what checks a release: it refuses what must not be published."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from tests.project.release import CHANGELOG, FIELDS, changelog, wheel

from microvm._version import DISTRIBUTION, __version__

PACK = f"{DISTRIBUTION}-guest-x86-64"
OLD = "## 0.1.0 - 2026-11-01\n"
NEW = "## 0.2.0 - 2026-12-01\n"


def test_the_version_of_today_is_one_to_go_on_with() -> None:
    assert [*changelog(CHANGELOG.read_text(), __version__)] == []


@pytest.mark.parametrize(
    ("text", "version", "tag", "fault"),
    [
        ("## Unreleased\n", "0.1.0", None, ""),
        ("## Unreleased\n" + OLD, "0.2.0", None, ""),
        (OLD, "0.1.0", None, ""),
        (NEW + OLD, "0.2.0", "v0.2.0", ""),
        ("## Unreleased\n" + OLD, "0.1.0", None, "raise the version"),
        (OLD, "0.2.0", None, "neither"),
        (NEW + OLD, "0.2.0", "0.2.0", "the tag is 0.2.0"),
        (NEW + OLD, "0.2.0", "v0.1.0", "the tag is v0.1.0"),
        ("## Unreleased\n" + NEW, "0.2.0", "v0.2.0", "the first section"),
        (OLD, "0.2.0", "v0.2.0", "the first section"),
        (OLD + NEW, "0.1.0", None, "the newest version is not the first"),
        ("## Unreleased\n## 0.1.0\n", "0.2.0", None, "'## 0.1.0' is not"),
    ],
)
def test_a_version_that_the_changelog_does_not_tell_is_refused(
    text: str, version: str, tag: str | None, fault: str
) -> None:
    faults = [*changelog(text, version, tag)]
    assert len(faults) == bool(fault)
    assert not faults or fault in faults[0]


def packed(path: Path, metadata: str, pure: str, *more: str) -> Path:
    """Write a wheel of our own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", metadata)
        archive.writestr("a-1.dist-info/WHEEL", f"Root-Is-Purelib: {pure}\n")
        for name in more:
            archive.writestr(name, "")
    return path


GOOD = f"Name: {PACK}\nVersion: 1.0.0\n" + "".join(f"{name}: x\n" for name in FIELDS[2:]) + "\nx"
SBOM = "a-1.dist-info/sboms/pack.cdx.json"


@pytest.mark.parametrize(
    ("metadata", "pure", "more", "fault"),
    [
        (GOOD, "true", [SBOM], ""),
        (GOOD, "true", [], "no SBOM"),
        (GOOD, "false", [SBOM], "not pure"),
        (GOOD, "true", [SBOM, "tests/test_a.py"], "tests/test_a.py does not belong"),
        (GOOD, "true", [SBOM, "a/__pycache__/b.pyc"], "does not belong"),
        (GOOD.replace("Summary: x\n", ""), "true", [SBOM], "no Summary"),
        (GOOD.removesuffix("x"), "true", [SBOM], "no description"),
        (GOOD.replace("1.0.0", "1.0.1"), "true", [SBOM], f"it is {PACK} 1.0.1"),
        (GOOD, "true", [SBOM, *map(str, range(100))], "at most 5000"),
    ],
)
def test_a_wheel_with_what_does_not_belong_there_is_refused(
    metadata: str, pure: str, more: list[str], fault: str, tmp_path: Path
) -> None:
    faults = [*wheel(packed(tmp_path / "a.whl", metadata, pure, *more), PACK, "1.0.0", 5000)]
    assert len(faults) == bool(fault)
    assert not faults or fault in faults[0]
