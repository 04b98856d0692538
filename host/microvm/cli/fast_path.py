"""Parses simple command lines of `microvm run` without click.

Importing click takes longer than starting QEMU. A command line is parsed here only if it consists
of declared options with valid values, and if no variable or file contains presets. All other
command lines are parsed by click.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from microvm.cli import preset_sources
from microvm.errors import UsageError
from microvm.option import Option, check_needs, flag, options_of
from microvm.options import ExecOptions, ImageOptions, MachineOptions

_VERB = "run"


class SimpleRun(NamedTuple):
    """The parsed command line of `microvm run`.

    :ivar command: Command and arguments.
    :ivar machine: Options of the machine.
    :ivar how: Options of the command.
    :ivar image: Value of `--image`, or None.
    """

    command: Sequence[str]
    machine: MachineOptions
    how: ExecOptions
    image: str | None


def read(arguments: Sequence[str]) -> SimpleRun | None:
    """Parse the arguments after the verb. Return None if click must parse them."""
    if "MICROVM_LOG" in os.environ or preset_sources.may_exist():
        return None
    found = _split(arguments)
    if found is None:
        return None
    texts, command = found
    try:
        return SimpleRun(
            command,
            machine=_values(MachineOptions, texts),
            how=_values(ExecOptions, texts),
            image=_values(ImageOptions, texts).get("image"),
        )
    except UsageError:
        return None


def _split(arguments: Sequence[str]) -> tuple[dict[str, list[str]], Sequence[str]] | None:
    """Return the texts of the options by name, and the command; None if click must parse them."""
    by_flag = {
        written: option
        for kind in (MachineOptions, ExecOptions, ImageOptions)
        for option in options_of(kind).values()
        if _VERB in option.verbs
        for written in (flag(option.setting), f"-{option.short}")
    }
    texts: dict[str, list[str]] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return texts, [word, *words]
        if word == "--":
            command = [*words]
            return (texts, command) if command else None
        option = by_flag.get(word)
        if option is None or word == "-":
            return None
        text = "" if option.is_flag else next(words, "-")
        if text.startswith("-"):
            return None
        texts.setdefault(option.name, []).append(text)
    return None


def _values(kind: Any, texts: Mapping[str, list[str]]) -> Any:
    """Return the values of the options that a class declares.

    :raises UsageError: Raised if a value is invalid, or if an option needs another one.
    """
    declared = options_of(kind)
    values = {
        name: _value(declared[name], each) for name, each in texts.items() if name in declared
    }
    check_needs(declared, values)
    return values


def _value(option: Option, texts: list[str]) -> Any:
    if option.is_flag:
        return True
    return option.read(option.from_text(tuple(texts) if option.multiple else texts[-1]))
