"""Tests of the commands and the program in the README, and of the home page's first commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from docs import record

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `microvm` is a command."""
    command = tmp_path / "microvm"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m microvm "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("number", "prints"),
    [
        (0, r"3\.20\.\d+\n|"),  # the busybox image lacks this file
        (1, r"42\n"),
        (2, r"out\n7\n"),
        (3, r""),
        (4, r"oops\n|"),  # rm may remove itself first, but echo is built into sh
    ],
)
def test_first_commands_of_the_home_page_print_their_output(
    number: int, prints: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("hello\n")
    result = subprocess.run(
        ["sh", "-c", record.commands()[number]],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,  # the command may have to build an image first
        check=False,
    )
    assert re.fullmatch(prints, result.stdout), result.stderr
    assert "Traceback" not in result.stderr
    if number == 3:
        assert zipfile.ZipFile(tmp_path / "notes.zip").read("notes") == b"hello\n"


def test_home_page_has_five_commands_and_their_file() -> None:
    assert len(record.commands()) == 5
    assert re.search(r"^    echo hello >notes$", (ROOT / "docs/index.md").read_text(), re.MULTILINE)


def _run(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=True
    ).stdout


def test_readme_command_of_a_checkout_runs(environment: dict[str, str]) -> None:
    (command,) = re.findall(r"^    \.venv/bin/(microvm run .*)$", README.read_text(), re.MULTILINE)
    assert re.fullmatch(r"3\.20\.\d+\n|", _run(["sh", "-c", command], environment))


def test_readme_program_runs(environment: dict[str, str]) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert _run([sys.executable, "-c", program], environment) == "0 hello\n\n"


def test_first_program_of_the_python_page_runs(environment: dict[str, str]) -> None:
    page = (ROOT / "docs/python.md").read_text()
    program, *_ = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    printed = _run([sys.executable, "-c", program], environment)
    assert "0 b'hello\\n'" in printed
    assert "PING 127.0.0.1" in printed
    assert printed.endswith("".join(f"b'{number}\\n'\n" for number in range(5)))
