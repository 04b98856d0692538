"""Tests of the documentation as a site: that it builds, is whole, and needs no other host."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path

import pytest
from docs import record

import microvm

from .test_distribution import VERBS

ROOT = Path(__file__).parents[2]

#: What a browser fetches without being asked: for a page, for what scripts make of it, for a style.
FETCHED = (
    r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="(?:https?:)?//[^"]*',
    r'class="mermaid"|data-md-component="source"',
    r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built without a warning, such as of a link that leads nowhere."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_is_fetched_from_another_host(site: Path) -> None:
    for path in (each for each in site.rglob("*") if each.suffix in (".html", ".css", ".svg")):
        text = path.read_text()
        assert [re.findall(each, text) for each in FETCHED] == [[], [], []], path


def test_llms_txt_lists_every_page(site: Path) -> None:
    listed = re.findall(r"^- \[.*?\]\((.*?)\)", (site / "llms.txt").read_text(), re.MULTILINE)
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert sorted(listed) == sorted(pages - {"404.html"})


def test_the_reference_has_each_verb_and_each_public_name(site: Path) -> None:
    for verb in VERBS:
        page = (site / f"reference/commands/{verb[0]}.html").read_text()
        assert f'id="{"-".join(verb)}"' in page, verb
    pages = "".join(path.read_text() for path in site.glob("reference/python/*.html"))
    for name in set(microvm.__all__) - {"__version__"}:
        assert re.search(rf'id="microvm\.(\w+\.)*{name}"', pages), name


def test_the_terminal_shows_what_the_readme_has_its_reader_try() -> None:
    picture = re.sub(r"<[^>]*>", "", (ROOT / "docs/terminal.svg").read_text())
    shown = [line.strip() for line in html.unescape(picture).split("\n")]
    typed = [line[2:].replace("\N{NO-BREAK SPACE}", " ") for line in shown if line[:1] == "$"]
    assert typed == record.commands()
    assert {"42", "out", "err", "7", "oops"} <= set(shown)
