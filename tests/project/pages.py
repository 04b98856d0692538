"""Generator of the tables in documents, from the code that they describe.

python -m tests.project.pages [MODULE]...
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

#: The modules with a `PAGE`, and a function `renewed` that returns its text with up-to-date tables.
MODULES = (
    "tests.project.modules",
    "tests.project.options",
    "tests.project.config",
    "tests.project.troubleshooting",
    "tests.project.confinement",
    "tests.confinement.table",
    "tests.faults.document",
    "tests.systems.table",
    "tests.kvm.table",
)


def generated(module: str) -> tuple[Path, str]:
    """Return the path of the page of a module, and its up-to-date text."""
    generator = import_module(module)
    page: Path = generator.PAGE
    return page, generator.renewed(page.read_text())


if __name__ == "__main__":
    for name in sys.argv[1:] or MODULES:
        path, text = generated(name)
        path.write_text(text)
