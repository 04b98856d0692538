"""Test that the schema and the programs of docs/conversations.md work as the page says."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from .common import ROOT, Run
from .test_backends import WARNINGS
from .test_conversations import EXAMPLE

TEXT = (ROOT / "docs/conversations.md").read_text()
FILES = dict(re.findall(r"```\w+\n# (\S+)\n(.*?)```", TEXT, re.DOTALL))
"""The files on the page, by the names in their first lines."""


@pytest.fixture
def quiz(run: Run, tmp_path: Path) -> Path:
    """The folder with the files of the page and the generated files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text + EXAMPLE if name == "quiz.toml" else text)
    assert run("gen", tmp_path / "quiz.toml").exit_code == 0
    return tmp_path


@pytest.mark.thorough
def test_random_conversations_are_accepted(quiz: Path) -> None:
    command = "python -m pytest -q test_order.py"
    assert f"    $ {command}\n" in TEXT
    subprocess.run([sys.executable, *command.split()[1:]], cwd=quiz, check=True)


def test_the_code_in_c_compiles(quiz: Path) -> None:
    (code,) = re.findall(r"```c\n(.*?)```", TEXT, re.DOTALL)
    head = "bool tell(uint8_t state, struct quiz_header header, bool is_last)"
    body = textwrap.indent(code, "\t") + "\treturn state == QUIZ_TALK_STATE_IDLE;\n"
    (quiz / "main.c").write_text(f'#include "quiz.h"\n\n{head};\n{head}\n{{\n{body}}}\n')
    subprocess.run(["gcc", *WARNINGS, "-c", "main.c"], cwd=quiz, check=True)
