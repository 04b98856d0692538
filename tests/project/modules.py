"""The table of modules in docs/architecture.md, made of the first sentence of each.

python -m tests.project.modules
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from .test_layers import NAMES, REPOSITORY, part

PAGE = REPOSITORY / "docs/architecture.md"
HEAD = "| part | file | what it is |\n|---|---|---|\n"

#: The parts as they lie in the picture, from above.
PARTS = (
    "package",
    "cli",
    "testing",
    "dask",
    "bench",
    "sync",
    "supervisor",
    "jobs",
    "builder",
    "machine",
    "start",
    "images",
    "qemu",
    "guest",
    "wire",
    "ground",
    "daemon",
    "proto",
)

#: The folders of programs in C, and the parts that they are of.
IN_C = {"guest": "daemon", "host/confine": "qemu"}


def files() -> Iterator[tuple[str, Path]]:
    """Each module, with its part of the project: those in Python, and those in C."""
    for name, path in NAMES.items():
        yield part(name), path
    for folder, of in IN_C.items():
        for path in (REPOSITORY / folder).glob("*.[ch]"):
            if path.suffix == ".c" or not path.with_suffix(".c").exists():
                yield of, path


def sentence(path: Path) -> str:
    """Return what a module says first of itself; one in C says it in its header, if it has one."""
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
    header = path.with_suffix(".h")
    text = (header if header.exists() else path).read_text()
    comment = re.match(r"/\* (.*?)\*/", text, re.DOTALL)
    prose = re.sub(r"\s+(\* )?", " ", comment[1]) if comment else ""
    return re.sub(r"\. .*", ".", prose).strip()


def table() -> str:
    """The table in Markdown."""
    rows = sorted((PARTS.index(here), path) for here, path in files())
    return HEAD + "".join(
        f"| {PARTS[number]} | `{path.relative_to(REPOSITORY)}` | {sentence(path)} |\n"
        for number, path in rows
    )


def renewed(page: str) -> str:
    """A page with the table as it should be."""
    return re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: table(), page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
