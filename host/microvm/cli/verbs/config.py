"""`microvm config`: what each option is where the command line does not say, and who says so."""

from __future__ import annotations

from collections.abc import Iterator

import click

from microvm.cli import habits, presets
from microvm.option import Option


@click.command(cls=habits.Command)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def config(as_json: bool) -> None:
    """Show the defaults of options, and where each is from.

    A value is that of the command line; else of the variable MICROVM_OPTION; else of the project's
    file, `[tool.microvm]` in the nearest pyproject.toml upwards; else of the user's own,
    microvm/config.toml in XDG_CONFIG_HOME or ~/.config; else what is built in. Verbs that differ
    have a line each. MICROVM_NO_CONFIG=1 goes without files.
    """
    from microvm.cli import facts, table

    found = presets.Presets()
    rows = [row for option in presets.OPTIONS.values() for row in _rows(option, found)]
    if as_json:
        facts.echo_json({"options": [*map(_json, rows)], "files": [*map(_file, found.files)]})
        return
    shown = [(name, _text(preset), ", ".join(of), preset.where) for name, of, preset in rows]
    table.echo([("OPTION", "VALUE", "OF", "FROM"), *shown])
    click.echo()
    for file in found.files:
        click.echo(f"{file.source}'s file: {file.path}: {file.state}")


Row = tuple[str, list[str], presets.Preset]
"""An option, verbs of which it has the same value from the same place, and that."""


def _rows(option: Option, found: presets.Presets) -> Iterator[Row]:
    rows: dict[str, Row] = {}
    for verb in presets.verbs_of(option):
        preset = found.find(option.name, verb) or _built_in(option, verb)
        _, verbs, _ = rows.setdefault(repr(preset), (option.name, [], preset))
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


def _file(file: presets.File) -> dict[str, object]:
    return {"source": file.source, "file": str(file.path), "state": file.state}
