"""Tests that the check of a release refuses files that must not be published."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from tests.project import release

from guest_pack.parts import digests
from microvm import arches
from microvm._version import DISTRIBUTION, __version__
from microvm.guest_pack import KERNEL, MANIFEST, ROOTFS, module

OLD = "## 0.1.0 - 2026-11-01\n"
NEW = "## 0.2.0 - 2026-12-01\n"


def test_version_and_changelog_match() -> None:
    assert [*release.changelog(release.CHANGELOG.read_text(), __version__)] == []


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
def test_version_needs_a_changelog(text: str, version: str, tag: str | None, fault: str) -> None:
    faults = [*release.changelog(text, version, tag)]
    assert len(faults) == bool(fault)
    assert not faults or fault in faults[0]


def test_one_page_says_that_no_index_has_the_wheels_yet() -> None:
    is_released = bool(re.search(r"^## [0-9]", release.CHANGELOG.read_text(), re.MULTILINE))
    root = release.ROOT
    pages = [root / "README.md", *root.glob("docs/*.md"), *root.glob("examples/*/README.md")]
    said = [page for page in pages if re.search(r"\bno (package )?index\b", page.read_text())]
    assert said == ([] if is_released else [release.INSTALL])


def test_release_is_refused_while_wheels_are_on_no_index() -> None:
    text = f"`microvm-proto` {release.UNPUBLISHED}."
    assert [*release.index(text)] == []
    assert "docs/install.md" in next(release.index(text, "v0.1.0"))
    assert [*release.index("`microvm-proto` is on an index.", "v0.1.0")] == []


def packed(path: Path, metadata: str, pure: str, *more: str) -> Path:
    """Write a wheel with our metadata."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a-1.dist-info/METADATA", metadata)
        archive.writestr("a-1.dist-info/WHEEL", f"Root-Is-Purelib: {pure}\n")
        for name in more:
            archive.writestr(name, "")
    return path


GOOD = f"Name: {DISTRIBUTION}\nVersion: 1.0.0\n"
GOOD += "".join(f"{name}: x\n" for name in release.FIELDS[2:]) + "\nx"


@pytest.mark.parametrize(
    ("metadata", "pure", "more", "fault"),
    [
        (GOOD, "true", [], ""),
        (GOOD, "false", [], "not pure"),
        (GOOD, "true", ["tests/test_a.py"], "tests/test_a.py does not belong"),
        (GOOD, "true", ["a/__pycache__/b.pyc"], "does not belong"),
        (GOOD.replace("Summary: x\n", ""), "true", [], "no Summary"),
        (GOOD.removesuffix("x"), "true", [], "no description"),
        (GOOD.replace("1.0.0", "1.0.1"), "true", [], f"it is {DISTRIBUTION} 1.0.1"),
        (GOOD, "true", [*map(str, range(100))], "at most 5000"),
    ],
)
def test_wheel_with_foreign_files_is_refused(
    metadata: str, pure: str, more: list[str], fault: str, tmp_path: Path
) -> None:
    path = packed(tmp_path / "a.whl", metadata, pure, *more)
    faults = [*release.wheel(path, DISTRIBUTION, "1.0.0", 5000)]
    assert len(faults) == bool(fault)
    assert not faults or fault in faults[0]


def test_an_incomplete_or_foreign_pack_is_refused(tmp_path: Path) -> None:
    arch = arches.find("x86_64")
    of = digests(arch) | {ROOTFS: "another"}
    parts = {name: {"of": each, "files": {}} for name, each in of.items() if name != KERNEL}
    manifest = {"version": "1.0.0", "schema": "0" * 16, "parts": parts}
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(f"{module(arch)}/{MANIFEST}", json.dumps(manifest))
        archive.writestr(f"{module(arch)}/programs/sandboxd", bytes(release.DAEMON_LIMIT + 1))
        archive.writestr("a-1.dist-info/sboms/guest.cdx.json", "{}")
        archive.writestr("a-1.dist-info/licenses/licenses/LICENSE", "")
    faults = "\n".join(release.pack(tmp_path / "a.whl", arch, "a-1.dist-info"))
    for fault in ("protocol 0000000000000000, not", "no kernel", "rootfs is not made of what is"):
        assert fault in faults
    assert "sandboxd has 32769 bytes" in faults
    assert "GPL-2.0.txt is missing" in faults
    assert faults.count("\n") == 4 + len(release.LICENSES) - 2
