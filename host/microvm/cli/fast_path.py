"""Executes simple command lines without the library click, which takes long to import.

Importing click takes longer than starting QEMU. A command line of `microvm run` is simple if it
consists of declared options with valid values, and if no variable or file contains presets. A
command line of `microvm exec` is simple if it has no options. Click parses all other command lines.

To save time, the imports of this module are in its functions. At the top, it imports only modules
that `microvm exec` needs. `microvm run` first imports the modules that start QEMU, and the others
while QEMU starts. A test in tests/counts compares the number of imported modules with a recorded
number.
"""

from __future__ import annotations

import gc
import os
import sys

# Define TYPE_CHECKING here, because an import of `typing`, which also defines it, takes longer than
# an import of this whole module.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from microvm.option import Option
    from microvm.options import ExecOptions, MachineOptions

    SimpleRun = tuple[Sequence[str], MachineOptions, ExecOptions, str | None]
    PooledRun = tuple[str, list[str]]


def prepare(arguments: Sequence[str]) -> Callable[[], int] | None:
    """Return a function that executes a simple command line, or None if click must parse it."""
    if "MICROVM_LOG" in os.environ:
        return None
    verb, *rest = arguments or [""]
    if verb == "exec" and (simple_exec := parse_exec(rest)):
        return lambda: _exec(*simple_exec)
    if pooled := parse_pooled(verb, rest):
        return lambda: _run_in_pool(*pooled)
    if verb == "run":
        # Disable garbage collection while modules are imported: it would take time and free
        # nothing. `run_command` enables it again.
        gc.disable()
        if simple_run := parse_run(rest):
            return lambda: _run(*simple_run)
        gc.enable()
    return None


def parse_exec(arguments: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the machine and the command of `microvm exec`; None if click must parse them."""
    if len(arguments) < 2:
        return None
    name, *command = arguments
    if command[0] == "--":
        del command[0]
    elif command[0].startswith("-"):
        return None
    return None if name.startswith("-") or not command else (name, command)


def parse_pooled(verb: str, arguments: Sequence[str]) -> PooledRun | None:
    """Return the pool and the command of `microvm run --pool`.

    Return None for other command lines, and if the command line has another option.
    """
    if verb != "run" or arguments[:1] != ["--pool"] or arguments[1:2] == [""]:
        return None
    from microvm.cli import preset_sources

    return None if preset_sources.may_exist() else parse_exec(arguments[1:])


def _run_in_pool(name: str, command: list[str]) -> int:
    from microvm.supervisor.client.pooled_command import execute
    from microvm.system.descriptors import open_missing

    open_missing()
    status = execute(name, command)
    if status is not None:
        return status
    gc.disable()  # as in `prepare`
    from microvm.cli import pooled

    machine, image, snapshot = pooled.same_kind(name, {})
    return _run(command, machine, {}, image, snapshot)


def _exec(name: str, command: list[str]) -> int:
    from microvm.supervisor.client.foreground_command import execute
    from microvm.system.descriptors import open_missing

    open_missing()
    return execute(name, command)


def parse_run(arguments: Sequence[str]) -> SimpleRun | None:
    """Parse the arguments of `microvm run`; return None if click must parse them."""
    from microvm.cli import preset_sources
    from microvm.errors import UsageError
    from microvm.option import check_needs, flag, options_of
    from microvm.options import ExecOptions, ImageOptions, MachineOptions

    if preset_sources.may_exist():
        return None
    kinds = [options_of(kind) for kind in (MachineOptions, ExecOptions, ImageOptions)]
    by_flag = {
        spelling: option
        for kind in kinds
        for option in kind.values()
        if "run" in option.verbs
        for spelling in (flag(option.setting), f"-{option.short}")
    }
    found = _split(arguments, by_flag)
    if found is None:
        return None
    texts, command = found
    try:
        machine, options, image = (_values(kind, texts) for kind in kinds)
        check_needs(kinds[1], options)
    except UsageError:
        return None
    return command, machine, options, image.get("image")


def _run(
    command: Sequence[str],
    machine: MachineOptions,
    options: ExecOptions,
    image: str | None,
    snapshot: str | None = None,
) -> int:
    from microvm.cli import run_command, standard_streams

    standard_streams.open_all()
    status = run_command.run(command, machine, options, image=image, snapshot=snapshot)
    sys.stdout.flush()
    return status


def _split(
    arguments: Sequence[str], by_flag: Mapping[str, Option]
) -> tuple[dict[str, list[str]], Sequence[str]] | None:
    """Split arguments into options of `by_flag` and the command; None if click must parse them.

    :return: The texts that are given for each option, by its name, and the words of the command.
    """
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


def _values(declared: Mapping[str, Option], texts: Mapping[str, list[str]]) -> Any:
    """Parse the `texts` of those options that `declared` contains, and return their values."""
    return {name: _value(declared[name], each) for name, each in texts.items() if name in declared}


def _value(option: Option, texts: list[str]) -> Any:
    if option.is_flag:
        return True
    return option.read(option.from_text(tuple(texts) if option.multiple else texts[-1]))
