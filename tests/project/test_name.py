"""Tests that hints and documents name our distribution, since `microvm` is a foreign project."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.captured import captured

from microvm import guest_pack
from microvm._version import DISTRIBUTION, __version__
from microvm.arches import ARCHES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: Foreign distributions that users are told to install.
OTHERS = set("pip pipx pytest pytest-asyncio pytest-xdist hypothesis hatchling uv ziglang".split())
OTHERS |= {"fastapi", "psycopg", "requests", "six", "uvicorn"}

# Up to the end of the code or text around it.
PROGRAM = r"(?:pip3?|pipx|uvx?|uv tool|uv pip)"
VERB = r"(?:install|download|wheel|run|inject|add|upgrade)"
INSTALL = re.compile(rf"\b{PROGRAM} {VERB} ([^`\"\n#;]+)")
NAME = re.compile(r"'?([A-Za-z][\w.-]*)(?:\[[\w,]+\])?(?:[<>=~]=?[\w.{}]+)?'?[,.)]?")
KINDS = (".py", ".md", ".yml", ".sh", ".toml", "Makefile")
WITH_VALUE = set(
    "--wheel-dir --find-links --dest -d --constraint -c --python-version --group".split()
)


def named(text: str) -> Iterator[str]:
    """Return the distributions that commands in a text install from the default index."""
    for found in INSTALL.finditer(text):
        words = found[1].split()
        for before, word in zip(["", *words], words, strict=False):
            if before in WITH_VALUE or "--no-index" in words or word.isupper():
                continue
            if name := NAME.fullmatch(word):
                yield name[1]


def test_project_name_is_the_same_in_code_and_build() -> None:
    assert PROJECT["name"] == DISTRIBUTION == "microvm-proto"


def test_hints_and_documents_name_our_distribution() -> None:
    listed = captured(["git", "-C", ROOT, "ls-files"], check=True).stdout.split()
    found = {}
    for path in (
        ROOT / name
        for name in listed
        if name.endswith((".py", ".md", ".yml", ".sh", ".toml", "Makefile"))
    ):
        if path.is_relative_to(ROOT / "tests"):
            continue
        for name in named(path.read_text()):
            found[name] = path
    ours = {each for each in found if each.startswith("microvm")}
    assert DISTRIBUTION in ours
    assert ours <= {DISTRIBUTION, *map(guest_pack.distribution, ARCHES.values())}
    assert not set(found) - ours - OTHERS, found


def test_packs_have_the_version_of_the_project() -> None:
    assert PROJECT["optional-dependencies"]["guest"] == [
        f"{guest_pack.distribution(each)}=={__version__}; platform_machine == '{each.name}'"
        for each in ARCHES.values()
    ]
