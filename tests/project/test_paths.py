"""Tests that files, folders, modules and links in documents and comments exist."""

from __future__ import annotations

import re
from pathlib import Path
from pkgutil import resolve_name

ROOT = Path(__file__).parents[2]
FOLDERS = ["codegen", "docs", "examples", "fuzz", "guest", "host", "image", "protocol", "tests"]
PAGES = sorted(
    [*ROOT.glob("*.md"), *(p for folder in FOLDERS for p in ROOT.glob(f"{folder}/**/*.md"))]
)

#: Names that look like files or modules of this project, but are others, such as files of users.
FOREIGN = {"csv_backend.py", "microvm.sandboxd.0", "image/png"}


def is_missing(name: str) -> bool:
    """Return True if a name looks like a file, a folder or a module that does not exist."""
    if name in FOREIGN:
        return False
    if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./*-]*", name):
        return not any(ROOT.glob(name.rstrip("/")))
    if re.fullmatch(r"(\w+/)*\w+\.(py|c|h)", name):
        return not any(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/**/{name}"))
    return bool(re.fullmatch(r"microvm(_\w+)?(\.\w+)+", name)) and not is_importable(name)


def is_importable(dotted: str) -> bool:
    """Return True if a dotted name is a module, or a name in a module."""
    try:
        resolve_name(dotted)
    except (ImportError, AttributeError):
        return False
    return True


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_files_and_modules_that_a_page_names_exist() -> None:
    for page in PAGES:
        prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        named = re.findall(r"`([^`\n]+)`", prose)
        missing = [name for name in named if is_missing(name) and not (page.parent / name).exists()]
        assert missing == [], page


def test_files_that_an_example_lists_exist() -> None:
    for page in ROOT.glob("examples/*/README.md"):
        rows = re.findall(r"^\| (`.*?) \|", page.read_text(), re.MULTILINE)
        names = [name for row in rows for name in re.findall(r"`([\w./-]+\.\w+)`", row)]
        assert [name for name in names if not (page.parent / name).exists()] == [], page


def test_files_and_modules_that_a_comment_names_exist() -> None:
    kinds = "py", "c", "h", "toml"
    sources = [
        p for folder in FOLDERS for kind in kinds for p in ROOT.glob(f"{folder}/**/*.{kind}")
    ]
    for source in sources:
        names = re.findall(r"`([^`\n]+)`", source.read_text(errors="replace"))
        assert [name for name in names if is_missing(name)] == [], source


def test_targets_of_links_exist() -> None:
    for page in PAGES:
        for path, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
            target = page.parent / path if path else page
            assert target.exists(), f"{page}: {path}"
            assert not anchor or anchor in anchors(target), f"{page}: {path}#{anchor}"
