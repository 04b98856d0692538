"""Tests of the statements about limits and sources in docs/images.md."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path

import pytest

from microvm import arches
from microvm.errors import ImageError
from microvm.images import readymade
from microvm.progress import NullReporter
from microvm_image.limits import Limits
from microvm_image.sources.find import find
from microvm_image.tree import SMALL

PAGE = (Path(__file__).parents[2] / "docs/images.md").read_text()
UNITS = {"": 1, " MiB": 1 << 20, " GiB": 1 << 30}


def test_page_has_the_real_limits() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+)( \w+)? \|", PAGE, re.MULTILINE)
    assert {name: int(number) * UNITS[unit] for name, number, unit in rows} == asdict(Limits())
    assert f"take at most {SMALL >> 20} MiB, including their headers" in " ".join(PAGE.split())


def test_page_has_all_ready_made_images() -> None:
    row = r"^\| `(\w+)` \| (`.+:.+`) \| (.+) \|$"
    found = {
        name: (tuple(re.findall(r"`(\S+)`", sources)), {*re.findall(r"`(\S+)`", packages)})
        for name, sources, packages in re.findall(row, PAGE, re.MULTILINE)
    }
    assert found == {
        name: (image.sources, {*image.packages}) for name, image in readymade.IMAGES.items()
    }


def test_hint_names_all_sources_of_the_page() -> None:
    with pytest.raises(ImageError) as caught, find("none", arches.find(), report=NullReporter()):
        pass
    for kind in ("docker://NAME", "debian:SUITE", "alpine", "scratch", "`-`"):
        assert kind in caught.value.hint
        assert kind.strip("`") in PAGE
