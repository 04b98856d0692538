"""Tests of the commands that the README shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from microvm.images import Image

README = Path(__file__).parents[2] / "README.md"


def _commands() -> list[str]:
    _, _, section = README.read_text().partition("## The first five things to try")
    section, _, _ = section.partition("\nAnd `microvm")
    return re.findall(r"^    (.*microvm run .*)$", section, re.MULTILINE)


@pytest.fixture
def environment(tmp_path: Path, image: Image) -> dict[str, str]:
    """An environment in which `microvm` is a command."""
    del image
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
def test_the_first_five_things_do_what_they_say(
    number: int, prints: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("hello\n")  # the README tells its reader to write this file
    result = subprocess.run(
        ["sh", "-c", _commands()[number]],
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


def test_there_are_five_and_a_file_for_the_fourth() -> None:
    assert len(_commands()) == 5
    assert re.search(r"^    echo hello >notes +#", README.read_text(), re.MULTILINE)


def test_the_python_example_runs(environment: dict[str, str]) -> None:
    _, _, text = README.read_text().partition("From Python:\n")
    example, *_ = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", example],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "0 b'hello\\n'" in result.stdout
    assert "PING 127.0.0.1" in result.stdout
    assert result.stdout.endswith("".join(f"b'{number}\\n'\n" for number in range(5)))
