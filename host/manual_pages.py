"""The manual pages, which a wheel has and the repository has not: one for each verb.

python host/manual_pages.py FOLDER
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from inspect import cleandoc
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parents[1]
SOURCES = ("codegen", "host", "image")

# A paragraph that click prints without filling its lines.
_AS_IT_STANDS = re.compile(r"[\b]\n((?:.*\S.*\n)*)")


class ManualPages(BuildHookInterface):  # type: ignore[type-arg]
    """The step of a build that writes the pages, and has the wheel take them along."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the pages of a wheel; one that is editable has none."""
        if version != "editable":
            self._folder = tempfile.TemporaryDirectory()
            write(Path(self._folder.name))
            build_data["shared_data"][self._folder.name] = "share/man/man1"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove them, now that the wheel has them."""
        if version != "editable":
            self._folder.cleanup()


def write(folder: Path) -> None:
    """Write a page for each command, and for each below it."""
    sys.path[:0] = [str(ROOT / source) for source in SOURCES]
    for name in [name for name in os.environ if name.startswith("MICROVM_")]:
        del os.environ[
            name
        ]  # the pages must not contain the defaults of the person who builds them
    os.environ["MICROVM_NO_CONFIG"] = "1"
    from click_man.core import write_man_pages

    from microvm import __version__
    from microvm.cli.root import cli
    from microvm_proto.cli import main

    for name, command in (("microvm", cli), ("microvm-proto", main)):
        _prepare(command)
        # Without a date, so that the same source gives the same wheel.
        write_man_pages(name, command, version=__version__, target_dir=str(folder), date=" ")


def _prepare(command: Any) -> None:
    """Have what is lazy there, and the text as a manual page has it."""
    import click

    text = cleandoc(command.help)
    command.short_help = " ".join(text.partition("\n\n")[0].split()).rstrip(".")
    text = text.replace("\\", r"\e").replace("-", r"\-") + "\n"
    command.help = _AS_IT_STANDS.sub(r".nf\n\1.fi\n", text)
    if isinstance(command, click.Group):
        context = click.Context(command)
        found = {
            name: command.get_command(context, name) for name in command.list_commands(context)
        }
        command.commands = {name: each for name, each in found.items() if each is not None}
        for each in command.commands.values():
            _prepare(each)


if __name__ == "__main__":
    made = Path(sys.argv[1])
    made.mkdir(parents=True, exist_ok=True)
    write(made)
