"""Reads the machine file of `microvm image build -f`, which describes an image in TOML.

The keys of the file are the options of `microvm image build`. The file is parsed by the parser that
also reads protocol schemas, because its errors contain the line and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from microvm.errors import ImageError, UsageError
from microvm_image.pip import requirements
from microvm_image.recipe import AddStep, Recipe, RunStep, Step, shell
from microvm_image.sources.archive import KINDS
from microvm_image.sources.find import split
from microvm_proto.diagnostics import SchemaError
from microvm_proto.load import Document, Table, content

A = TypeVar("A")
T = TypeVar("T")

_COMMAND = "write a command as text for a shell, or as a list of words"

# The first instruction of a Containerfile, which only comments and ARG may precede.
_CONTAINERFILE = re.compile(r"\A(?:\s*(?:#.*|ARG\s.*)?\n)*\s*FROM\s+[^\s=]", re.IGNORECASE)
_HOW_TO_USE_A_CONTAINERFILE = """\
microvm does not run the instructions of a Containerfile. Build it with one of these commands:
  docker build -t app . && docker save app | microvm image build app --from -
  buildah build -t app . && buildah push app oci:layout:app && \
microvm image build app --from oci:layout:app
Or write a machine file: `from = "debian:trixie"`, with a [[step]] for each COPY and RUN."""


def read(path: Path, allow: Sequence[Path] = ()) -> Recipe:
    """Return the recipe in a machine file, which may use only files in its folder and in `allow`.

    A stranger may have written the file, so it must not use other files of the host. Relative paths
    in the file start at its folder.

    :raises UsageError: Raised if the file cannot be read, or is wrong. `detail` contains the line
        of each fault, and a hint.
    """
    try:
        document = Document(path)
        recipe = _recipe(document.root(), Recipe(folder=path.parent, allowed=(path.parent, *allow)))
        document.check()
    except SchemaError as error:
        if _is_containerfile(path):
            raise UsageError(
                f"{path} is a Containerfile, but -f needs a machine file, which is in TOML",
                detail=_HOW_TO_USE_A_CONTAINERFILE,
            ) from None
        count = len(error.diagnostics)
        what = f"{count} errors" if count > 1 else "an error"
        raise UsageError(f"{path}: {what} in the machine file", detail=str(error)) from None
    return recipe


def _is_containerfile(path: Path) -> bool:
    try:
        return bool(_CONTAINERFILE.match(content(path).decode(errors="replace")))
    except OSError:
        return False


def _recipe(table: Table, empty: Recipe) -> Recipe:
    given: dict[str, Any] = {
        "source": table.get("from", str, ""),
        "packages": table.items("package", str),
        "pip": (*table.items("pip", str), *_requirements(table, empty)),
        "steps": tuple(_steps(table, empty)),
        "warm": tuple(_commands(table, "warm")),
        "env": tuple(_variables(table)),
        "workdir": table.optional("workdir", str),
        "user": table.optional("user", str),
        "entrypoint": _words(table, "entrypoint"),
        "cmd": _words(table, "cmd"),
    }
    if table.data.get("from") == "":
        table.error("wrong-value", "from", "the source is empty")
    _check_source(table, empty, given["source"])
    table.done()
    table.document.check()
    try:
        return replace(empty, **given)
    except UsageError as error:
        table.document.error("wrong-value", (), error.message)
        return Recipe()


def _check_source(table: Table, empty: Recipe, source: str) -> None:
    """Record an error in `table` if `source` is a path that `empty` does not permit."""
    kind, colon, rest = source.partition(":")
    if not (colon and kind in KINDS):
        _allowed_path(table, "from", empty, source)
        return
    with suppress(ImageError, OSError):  # if the file does not exist, the build reports it later
        try:
            split(empty.path, kind, rest)
        except UsageError as error:
            table.error("outside", "from", error.message, error.hint)


def _requirements(table: Table, empty: Recipe) -> Iterator[str]:
    """Yield the requirements in the files that the table names."""
    for name in table.items("requirement", str):
        if path := _allowed_path(table, "requirement", empty, name):
            yield from _parse(table, "requirement", requirements.read, path) or ()


def _steps(table: Table, empty: Recipe) -> Iterator[Step]:
    for step in table.tables("step"):
        added, command = step.optional("add", str), _command(step, "run")
        step.done()
        if len(step.data.keys() & {"add", "run"}) != 1:
            step.error("step", "", "a step must have either `add` or `run`")
        elif command is not None and (run := _parse(step, "run", RunStep, command)):
            yield run
        elif added is not None and (add := _parse(step, "add", AddStep.parse, added)):
            try:
                path = _allowed_path(step, "add", empty, add.source)
                if path and not path.exists():
                    step.error("missing-file", "add", f"{add.source} does not exist")
            except OSError as error:
                hint = "allow your user to search the folders above it, with `chmod a+x`"
                step.error("unreadable", "add", f"{add.source}: {error.strerror}", hint)
            yield add


def _allowed_path(table: Table, key: str, empty: Recipe, path: str | Path) -> Path | None:
    """Return the absolute `path`. Record an error and return None if `empty` does not permit it.

    :param empty: A recipe without steps, which knows the folders whose files a recipe may use.
    """
    try:
        return empty.path(path)
    except UsageError as error:
        table.error("outside", key, error.message, error.hint)
        return None


def _parse(table: Table, key: str, make: Callable[[A], T], given: A) -> T | None:
    """Return `make(given)`. If it raises a UsageError, record an error for this key of the file."""
    try:
        return make(given)
    except UsageError as error:
        table.error("wrong-value", key, error.message, error.hint)
        return None


def _words(table: Table, key: str) -> tuple[str, ...] | None:
    words = table.items(key, str)
    return words if key in table.data else None


def _command(table: Table, key: str) -> tuple[str, ...] | None:
    if isinstance(table.data.get(key), list):
        return table.items(key, str)
    text = table.optional(key, str)
    return None if text is None else shell(text)


def _commands(table: Table, key: str) -> Iterator[tuple[str, ...]]:
    table.known_keys.append(key)
    given = table.data.get(key, [])
    if not isinstance(given, list):
        table.error("wrong-type", key, f"`{key}` must be a list of commands", _COMMAND)
        return
    for number, command in enumerate(given):
        if isinstance(command, str):
            yield shell(command)
        elif not isinstance(command, list) or not all(isinstance(word, str) for word in command):
            table.document.error("wrong-type", table.at(key, number), "not a command", _COMMAND)
        elif not command:
            table.document.error("wrong-value", table.at(key, number), "a command without a name")
        else:
            yield tuple(command)


def _variables(table: Table) -> Iterator[str]:
    if "env" not in table.data:
        table.known_keys.append("env")
        return
    variables = table.table("env")
    for name in variables.data:
        value = variables.optional(name, str)
        if not name or "=" in name:
            variables.error("wrong-value", name, "this is not a valid name of a variable")
        elif value is not None:
            yield f"{name}={value}"
