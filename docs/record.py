"""Draw the terminal in README.md: the first commands of docs/index.md and their output.

python docs/record.py
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from io import StringIO
from pathlib import Path

import pexpect
from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parent
PICTURE = FOLDER / "terminal.svg"
WIDTH = 104


def commands() -> list[str]:
    """Return the first commands of the home page, without their comments."""
    text = (FOLDER / "index.md").read_text()
    section = text.partition("## The first five things to try\n")[2].partition("\n## ")[0]
    return re.findall(r"^    (microvm run .*)$", section, re.MULTILINE)


def written(command: str, folder: str) -> str:
    """Run a command in a terminal, and return its output."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    terminal: pexpect.spawn[str] = pexpect.spawn(
        "/bin/sh",
        ["-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        dimensions=(30, WIDTH),
        encoding="utf-8",
        timeout=600,  # an image may have to be made
    )
    return terminal.read().replace("\r\n", "\n")


def draw() -> str:
    """Run the commands in a folder that contains their input file, and draw the terminal."""
    console = Console(record=True, width=WIDTH, file=StringIO())
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "notes").write_text("hello\n")
        for command in commands():
            console.print(Text("$ ", "green"), Text(command, "bold"), sep="")
            console.print(Text.from_ansi(written(command, folder)))
    picture = console.export_svg(title="microvm", unique_id="terminal")
    # A browser would fetch these fonts from another host, so remove them.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


if __name__ == "__main__":
    PICTURE.write_text(draw())
