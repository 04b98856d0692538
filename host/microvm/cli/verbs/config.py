"""`microvm config`: show the default value of each option, and where the value comes from."""

from __future__ import annotations

from collections.abc import Iterator

import click

from microvm.cli import docker_hints, parameters, presets, properties
from microvm.option import Option


@click.command(cls=docker_hints.HintingCommand)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@parameters.no_trunc
def config(as_json: bool, full: bool) -> None:
    """Show the default of each option, and where it is set.

    The value of an option is the first of these:

    \b
      1. the option on the command line
      2. the environment variable MICROVM_OPTION, such as MICROVM_MEMORY
      3. the project's file: [tool.microvm] in the nearest pyproject.toml, in the
         current folder or a folder above it
      4. the user's file: microvm/config.toml in XDG_CONFIG_HOME or ~/.config
      5. the built-in default

    An option whose default differs between verbs has several lines. MICROVM_NO_CONFIG=1 disables
    both files.
    """  # noqa: D301 - `\b` tells click to keep the lines
    found = presets.Presets()
    rows = [row for option in presets.OPTIONS.values() for row in _rows(option, found)]
    if as_json:
        properties.echo_json({"options": [*map(_json, rows)], "files": [*map(_file, found.files)]})
        return
    shown = [(name, _text(preset), ", ".join(of), preset.where) for name, of, preset in rows]
    properties.echo_table([("OPTION", "VALUE", "OF", "FROM"), *shown], full=full)
    click.echo()
    for file in found.files:
        click.echo(f"{file.source}'s file: {file.path}: {file.state}")


Row = tuple[str, list[str], presets.Preset]
"""A row of the table: the name of an option, verbs with the same default, and this default."""


def _rows(option: Option, found: presets.Presets) -> Iterator[Row]:
    rows: dict[str, Row] = {}
    for verb in presets.verbs_of(option):
        preset = found.find(option.setting, verb) or _built_in(option, verb)
        _, verbs, _ = rows.setdefault(repr(preset), (option.setting, [], preset))
        verbs.append(verb)
    yield from rows.values()


def _built_in(option: Option, verb: str) -> presets.Preset:
    own = option.default_for(verb)
    value = option.default if own is None else own
    shown = value if isinstance(value, bool) else own or option.default_text
    return presets.Preset(value, shown, "built in")


def _text(preset: presets.Preset) -> str:
    given = preset.given
    return str(given).lower() if isinstance(given, bool) else str(given)


def _json(row: Row) -> dict[str, object]:
    option, verbs, preset = row
    value = preset.value if preset.source == "built in" else preset.given
    return {
        "option": option,
        "verbs": verbs,
        "value": value if isinstance(value, str | int | float) else None,
        "source": preset.source,
        "file": preset.file and str(preset.file),
        "key": preset.key or None,
    }


def _file(file: presets.PresetFile) -> dict[str, object]:
    return {"source": file.source, "file": str(file.path), "state": file.state}
