"""Generator of the table of modules in docs/architecture.md, from their first sentences."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .test_layers import NAMES, REPOSITORY, part

PAGE = REPOSITORY / "docs/architecture.md"
HEAD = "| part | file | what it is |\n|---|---|---|\n"

#: The parts in the order of the diagram, from the top.
PARTS = """
    package cli testing frameworks dask bench sync supervisor jobs interpreter builder machine start
    images qemu guest wire ground daemon proto
""".split()

#: The folders of C programs, and the parts that they belong to.
IN_C = {"guest": "daemon", "host/confine": "qemu"}


def files() -> Iterator[tuple[str, Path]]:
    """Return the modules in Python and C, each with its part of the project."""
    for name, path in NAMES.items():
        yield part(name), path
    for folder, of in IN_C.items():
        for path in (REPOSITORY / folder).glob("*.[ch]"):
            if path.suffix == ".c" or not path.with_suffix(".c").exists():
                yield of, path


def sentence(path: Path) -> str:
    """Return the first sentence of a module; of a C module, that of its header if it has one."""
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    header = path.with_suffix(".h")
    text = (header if header.exists() else path).read_text()
    comment = re.match(r"/\* (.*?)\*/", text, re.DOTALL)
    prose = re.sub(r"\s+(\* )?", " ", comment[1]) if comment else ""
    return re.sub(r"\. .*", ".", prose).strip()


def table() -> str:
    """Return the table in Markdown."""
    rows = sorted((PARTS.index(here), path) for here, path in files())
    return HEAD + "".join(
        f"| {PARTS[number]} | `{path.relative_to(REPOSITORY)}` | {sentence(path)} |\n"
        for number, path in rows
    )


def renewed(page: str) -> str:
    """Return a page with the up-to-date table."""
    return re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: table(), page)
