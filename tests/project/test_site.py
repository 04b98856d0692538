"""Tests that the site of the documentation builds, is complete, and needs no other host."""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path

import pytest
from docs import record
from tests.support.captured import captured

import microvm

from .test_distribution import VERBS

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]

#: Elements of a page, and rules of a style, that make a browser load a file from another host.
FETCHED = (
    r'<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)="(?:https?:)?//[^"]*',
    r'class="mermaid"|data-md-component="source"',
    r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*",
)


#: The pages for users. A protocol's project has a Makefile of its own.
USER_PAGES = (
    *("index", "install", "tutorial", "faq", "untrusted", "files", "scale", "clean-machine"),
    *("pytest", "runners", "containers", "snapshots", "images", "cache", "machines"),
    *("python", "loops", "notebooks", "exit-status", "options", "config", "json", "logging"),
    *("troubleshooting", "systems", "sandboxes", "protocol-generator", "protocol", "schema"),
    *("protocol-tools", "backends"),
)
SOURCE_PATH = re.compile(r"\b(?:host|codegen|guest|fuzz|image|tests)/\w+[\w/]*(?:\.\w+|/)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, which is built without a warning, for example of a broken link."""
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = captured(build, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_load_nothing_from_another_host(site: Path) -> None:
    for path in (each for each in site.rglob("*") if each.suffix in (".html", ".css", ".svg")):
        text = path.read_text()
        assert [re.findall(each, text) for each in FETCHED] == [[], [], []], path


def test_llms_txt_lists_every_page(site: Path) -> None:
    listed = re.findall(r"^- \[.*?\]\((.*?)\)", (site / "llms.txt").read_text(), re.MULTILINE)
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert sorted(listed) == sorted(pages - {"404.html"})


def test_reference_has_each_verb_and_each_public_name(site: Path) -> None:
    for verb in VERBS:
        page = (site / f"reference/commands/{verb[0]}.html").read_text()
        assert f'id="{"-".join(verb)}"' in page, verb
    pages = "".join(path.read_text() for path in site.glob("reference/python/*.html"))
    for name in set(microvm.__all__) - {"__version__"}:
        assert re.search(rf'id="microvm\.(\w+\.)*{name}"', pages), name
    assert "Unpack[" not in _text(pages)


def test_copy_buttons_copy_commands_alone(site: Path) -> None:
    found = 0
    for path in site.rglob("*.html"):
        for block in re.findall(r"<div[^>]*highlight.*?</pre>", path.read_text(), re.DOTALL):
            if lines := re.findall(r"^\$ (.*)$", _text(block.partition(">")[2]), re.MULTILINE):
                (copied,) = re.findall(r'data-copy="(.*?)"', block)
                assert set(lines) <= set(html.unescape(copied).split("\n")), path
                assert not re.search(r"^\$ ", html.unescape(copied), re.MULTILINE)
                found += 1
    assert found > 30


def test_search_has_each_page_also_from_a_folder(site: Path) -> None:
    text = (site / "search/search_index.json").read_text()
    found = {entry["location"].partition("#")[0] for entry in json.loads(text)["docs"]}
    assert found >= {str(path.relative_to(site)) for path in site.rglob("*.html")} - {"404.html"}
    assert (site / "search/search_index.js").read_text() == f"var __index = {text}"
    assert "search_in_folder.js" in (site / "index.html").read_text()


@pytest.mark.parametrize("name", USER_PAGES)
def test_user_page_has_no_make_and_no_source_path(site: Path, name: str) -> None:
    article = (site / f"{name}.html").read_text().partition("<article")[2].partition("</article")[0]
    text = _text(article)
    assert not SOURCE_PATH.findall(text)
    if not name.startswith("protocol"):
        assert not re.findall(r"(?m)^ *\$? ?make [a-z]|<code>make ", article)


def _text(page: str) -> str:
    """Return the text of a page, without its elements."""
    return html.unescape(re.sub(r"<[^>]*>", "", page))


def test_terminal_shows_the_first_commands_of_the_home_page() -> None:
    picture = re.sub(r"<[^>]*>", "", (ROOT / "docs/terminal.svg").read_text())
    shown = [line.strip() for line in html.unescape(picture).split("\n")]
    typed = [line[2:].replace("\N{NO-BREAK SPACE}", " ") for line in shown if line[:1] == "$"]
    assert typed == record.commands()
    assert {"42", "out", "err", "7", "oops"} <= set(shown)
