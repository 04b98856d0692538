"""Imports modules at their first use, because most clients of a supervisor never use them.

`microvm exec` needs them only if something fails, or does not need them at all. Together, they take
longer to import than a command in a machine takes. Use them as `lazy.MODULE`.
"""

# ruff: noqa: PLC0414 - for mypy, an import with "as" exports its name

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import contextlib as contextlib
    import shutil as shutil

    from microvm import errors as errors
    from microvm import progress as progress
    from microvm import suggestion as suggestion
    from microvm.machine import hints as hints
    from microvm.supervisor import error_json as error_json
    from microvm.supervisor import failures as failures
    from microvm.supervisor import names as names
    from microvm.system import process as process
    from microvm.system import terminal_hints as terminal_hints

_PARENTS = {
    "contextlib": "",
    "error_json": "microvm.supervisor.",
    "failures": "microvm.supervisor.",
    "hints": "microvm.machine.",
    "names": "microvm.supervisor.",
    "process": "microvm.system.",
    "shutil": "",
    "terminal_hints": "microvm.system.",
}


def __getattr__(name: str) -> object:
    path = _PARENTS.get(name, "microvm.") + name
    __import__(path)  # `importlib` would do the same, but would have to be imported first
    return sys.modules[path]
