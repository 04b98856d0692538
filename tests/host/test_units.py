"""Tests that sizes and times accept units everywhere, and that a number has one meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from tests.support.commands import below, parsed_jobs

from microvm.cli import preset_sources, presets
from microvm.cli.root import cli
from microvm.errors import ExecTimeout, MemoryLimit, OutputLimit
from microvm.option import Option, options_of
from microvm.options import ExecOptions, MachineOptions
from microvm.units import exact_size, parse_duration, parse_size

# Valid texts and their values in bytes or seconds, by the placeholder on the command line.
WRITTEN: dict[str, tuple[str, float]] = {"SIZE": ("128M", 128 << 20), "TIME": ("1.5m", 90.0)}


DECLARED = [
    option
    for kind in (ExecOptions, MachineOptions)
    for option in options_of(kind).values()
    if option.metavar in WRITTEN
]


def of_verbs() -> Iterator[tuple[str, click.Option]]:
    """Return all options of the command line that accept a size or a time."""
    for verb, command in below(cli):
        for option in command.params:
            if option.metavar in WRITTEN and isinstance(option, click.Option):
                yield " ".join(verb), option


@pytest.mark.parametrize(
    ("verb", "option"), [*of_verbs()], ids=lambda value: getattr(value, "name", value)
)
def test_the_command_line_reads_both(verb: str, option: click.Option) -> None:
    del verb
    text, number = WRITTEN[str(option.metavar)]
    context = click.Context(cli)
    assert option.callback is not None
    for given in (text, f"{number:g}" if option.metavar == "TIME" else str(number)):
        assert option.callback(context, option, given) == number
    with pytest.raises(click.BadParameter):
        option.callback(context, option, "many")


@pytest.mark.parametrize(
    "typed", ["20M", "1.5G", "128M", "100K", "1.5M", "1100K", "2T", "1000 bytes", "1 bytes"]
)
def test_a_limit_is_shown_in_the_unit_that_was_typed(typed: str) -> None:
    size = parse_size(typed.removesuffix(" bytes"))
    assert exact_size(size) == typed
    assert str(OutputLimit("sh", size)).startswith(f"sh: wrote more than {typed}, and was killed")
    assert str(MemoryLimit("sh", size)).startswith(f"sh: took more than {typed} of memory, and ")


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("500ms", "0.5 s"),
        ("59s", "59 s"),
        ("2m", "2m"),
        ("90s", "1m30s"),
        ("60.5s", "60.5 s"),
        ("1h30m", "1h30m"),
        ("2d", "2d"),
    ],
)
def test_a_duration_is_shown_in_units_for_people(typed: str, shown: str) -> None:
    assert str(ExecTimeout("sh", parse_duration(typed))) == f"sh: timed out after {shown}"


@pytest.mark.parametrize("option", DECLARED, ids=lambda option: option.name)
def test_units_everywhere(option: Option, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text, number = WRITTEN[option.metavar]
    assert option.check(text) == option.check(number) == number
    if "map" in option.verbs and option.name in options_of(ExecOptions):
        for given in (text, number):
            job: dict[str, object] = {"argv": ["true"], option.name: given}
            [parsed] = parsed_jobs(json.dumps(job))
            assert dict(parsed.options)[option.name] == number
    if option.name not in presets.OPTIONS:
        return
    monkeypatch.delenv(preset_sources.NO_FILES, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "microvm").mkdir()
    for value in (json.dumps(text), number):
        (tmp_path / "microvm/config.toml").write_text(f"{option.name} = {value}")
        assert getattr(presets.Presets().find(option.name, "run"), "value", None) == number
    monkeypatch.setenv(presets.variable_of(option.name), text)
    assert getattr(presets.Presets().find(option.name, "run"), "value", None) == number
