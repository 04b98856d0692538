"""The source code of the program that runs an interpreter in the guest."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from microvm.errors import ImageError

MODULES = (
    "tables codec processes wakeups links keeper channel questions display cell worker main"
).split()
"""The modules of the program: each imports only modules before it."""

PACKAGE = "interpreter"
"""Name of the package of these modules."""


@cache
def program() -> str:
    """Return the source code of the program: one file, which consists of all modules.

    :raises ImageError: The sources are missing.
    """
    folder = sources()
    head = f'"""The program of an interpreter."""\n\n{_FUTURE}\n'
    return head + "\n".join(_body((folder / f"{name}.py").read_text()) for name in MODULES)


def sources() -> Path:
    """Return the folder with the modules of the program, in the wheel or in the repository.

    :raises ImageError: The sources are missing.
    """
    packages = Path(__file__).resolve().parents[2]
    folders = (packages / "microvm_image/_guest" / PACKAGE, packages.parent / "guest" / PACKAGE)
    for folder in folders:
        if (folder / "main.py").is_file():
            return folder
    raise ImageError(
        "the sources of the guest's interpreter are missing", hint="install microvm again"
    )


def _body(source: str) -> str:
    """Return the source of a module without its docstring and its imports of other modules."""
    lines = source.splitlines()
    first, *_ = body = ast.parse(source).body
    removed = [first, *(each for each in body if _is_internal(each))]
    for node in removed:
        for at in range(node.lineno - 1, node.end_lineno or node.lineno):
            lines[at] = ""
    return "\n".join(lines).strip() + "\n\n"


def _is_internal(node: ast.stmt) -> bool:
    """Return True if `node` imports from another module of the program, or from `__future__`."""
    module = node.module if isinstance(node, ast.ImportFrom) else None
    return module is not None and module.partition(".")[0] in {PACKAGE, "__future__"}


_FUTURE = "from __future__ import annotations\n"
