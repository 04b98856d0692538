"""Tests of the interpreter's program as text: one file, for Python 3.8 and newer."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from pathlib import Path

from microvm.interpreter.program import MODULES, program, sources


def test_python_3_8_can_parse_the_program() -> None:
    ast.parse(program(), feature_version=(3, 8))


def test_program_contains_every_module() -> None:
    assert {path.stem for path in sources().glob("*.py")} == set(MODULES)


def test_modules_share_no_names() -> None:
    names = Counter(
        name
        for node in ast.parse(program()).body
        for name in re.findall(r"^(?:class |def )?(\w+)", ast.unparse(node))
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign)
    )
    assert len(names) > 50
    assert {name for name, count in names.items() if count > 1} == {"TYPE_CHECKING"}


def test_internal_imports_are_removed() -> None:
    assert "from interpreter" not in program()
    assert program().count("from __future__") == 1


def test_error_of_a_socket_that_cannot_be_created(program: Path, python: str) -> None:
    command = [python, str(program), "/nonexistent/socket"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "interpreter: cannot listen at /nonexistent/socket: No such file or directory"
    )
