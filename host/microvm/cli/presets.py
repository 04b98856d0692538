"""Presets: values of options from environment variables and configuration files.

The value of an option is the first of these: the command line; the variable `MICROVM_OPTION`; the
project's file, which is the nearest pyproject.toml in the current folder or above; the user's file;
the built-in default. In a file, the table of a verb overrides the top level.
:mod:`microvm.options` declares the options, and whether a project's file may contain them. See
docs/config.md.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from microvm.cli import preset_sources
from microvm.cli.preset_sources import (
    LIMIT,
    NO_FILES,
    PREFIX,
    PRESETS_OF,
    VERBS_WITHOUT_PRESETS,
)
from microvm.errors import UsageError
from microvm.option import Option, options_of
from microvm.options import ExecOptions, ImageOptions, MachineOptions, PoolChoice

Source = Literal["variable", "project", "user", "built in"]

OPTIONS: Mapping[str, Option] = {
    option.setting: option
    for kind in (ImageOptions, PoolChoice, MachineOptions, ExecOptions)
    for option in options_of(kind).values()
    if option.verbs and option.preset_by != "nobody"
}
"""The options that variables and configuration files can set, by name."""

_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset: the value of an option if the user does not type one, and where it is set.

    :ivar value: Value after parsing.
    :ivar given: Value as it is written in the variable or file.
    :ivar file: File that contains the value, or None for a variable or a built-in default.
    :ivar key: Key in the file, or name of the variable; empty for a built-in default.
    """

    value: Any
    given: object
    source: Source
    file: Path | None = None
    key: str = ""

    @property
    def where(self) -> str:
        """The variable, or the file and key, that sets the value, as text for the user."""
        return (
            self.source if self.key == "" else f"{self.file}: {self.key}" if self.file else self.key
        )


@dataclass(frozen=True, slots=True)
class PresetFile:
    """A configuration file, which need not exist.

    :ivar state: `read`, `not there`, or the reason why the file is ignored.
    :ivar values: Presets in the file, by verb and option. For the file's top level, the verb is "".
    """

    path: Path
    source: Source
    state: str
    values: Mapping[tuple[str, str], Preset]


class Presets:
    """The presets from all variables and files.

    :raises UsageError: Raised if a value is invalid. The message names the variable, or the file
        and the key.
    """

    def __init__(self) -> None:
        self.files = [*_files()]
        self._variables = dict(_variables())

    def find(self, name: str, verb: str) -> Preset | None:
        """Return the preset of an option of a verb, or None if the option has no preset."""
        if verb in VERBS_WITHOUT_PRESETS:
            return None
        verb = PRESETS_OF.get(verb, verb)
        if found := self._variables.get(name):
            return found
        for file in self.files:
            for table in (verb, ""):
                if found := file.values.get((table, name)):
                    return found
        return None


def verbs() -> list[str]:
    """Return the names of all verbs with options for which presets are possible."""
    return list(dict.fromkeys(chain.from_iterable(map(verbs_of, OPTIONS.values()))))


def verbs_of(option: Option) -> list[str]:
    """Return the verbs that have this option and accept a preset of it."""
    return [verb for verb in option.verbs if verb not in {*VERBS_WITHOUT_PRESETS, *PRESETS_OF}]


def table_of(verb: str) -> str:
    """Return the name of a verb's table in a configuration file, such as `image-build`."""
    return verb.replace(" ", "-")


def variable_of(name: str) -> str:
    """Return the name of the environment variable that presets an option."""
    return f"{PREFIX}{name.upper()}"


def _variables() -> Iterator[tuple[str, Preset]]:
    for name, option in OPTIONS.items():
        variable = variable_of(name)
        if text := os.environ.get(variable):
            try:
                value = _truth(text) if option.is_flag else option.read(option.from_text(text))
            except UsageError as error:
                raise UsageError(f"{variable}: {error.message}", hint=error.hint) from None
            yield name, Preset(value, text, "variable", key=variable)


def _truth(text: str) -> bool:
    if text.lower() not in _TRUTH:
        raise UsageError(f"it must be one of {', '.join(_TRUTH)}, not {text!r}")
    return _TRUTH[text.lower()]


def _files() -> Iterator[PresetFile]:
    if os.environ.get(NO_FILES):
        return
    if project := preset_sources.project_file():
        yield _file(project, "project", ("tool", "microvm"))
    if user := preset_sources.user_file():
        yield _file(user, "user", ())


def _file(path: Path, source: Source, at: tuple[str, ...]) -> PresetFile:
    try:
        data = _read(path)
    except _Ignored as ignored:
        return PresetFile(path, source, str(ignored), {})
    except FileNotFoundError:
        return PresetFile(path, source, "not there", {})
    except OSError as error:
        if (
            source == "project"
        ):  # a pyproject.toml that cannot be read probably has no settings of microvm, so ignore it
            return PresetFile(path, source, f"ignored: {error.strerror}", {})
        hint = f"set {NO_FILES}=1 to ignore the file"
        raise UsageError(f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    if at and not preset_sources.has_table(data):
        return PresetFile(path, source, "contains no settings of microvm", {})
    return _parsed(path, source, at, data)


class _Ignored(Exception):
    """Raised if a configuration file is ignored because other users could have written it."""


def _read(path: Path) -> bytes:
    """Return the content of a configuration file, after checking who can write to it.

    The file must belong to the current user or to root. A file that every user can write to is
    ignored. One that its group can write to is accepted, because a umask of 002 creates such files.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if status.st_uid not in {0, os.geteuid()}:
            raise _Ignored(f"ignored: it belongs to user {status.st_uid}")
        if status.st_mode & stat.S_IWOTH:
            raise _Ignored("ignored: everybody can write to it")
        if not stat.S_ISREG(status.st_mode) or status.st_size > LIMIT:
            raise _Ignored("ignored: it is not a regular file, or is too long")
        return file.read(LIMIT)


def _parsed(path: Path, source: Source, at: tuple[str, ...], data: bytes) -> PresetFile:
    reader = _PresetReader(path, source)
    try:
        table: object = tomllib.loads(data.decode())
        if at and isinstance(table, dict) and at[-1] in table:
            message = f"`{at[-1]}` is not a table of {path.name}"
            reader.faults.append(((at[-1],), "unknown-key", message, f"write [{'.'.join(at)}]"))
        for key in at:
            table = table.get(key, {}) if isinstance(table, dict) else None
        reader.table(at, table)
    # The file is no valid TOML. An empty fault makes `_error_with_lines` read the file again, which
    # then finds the line with the error.
    except (ValueError, RecursionError):
        reader.faults.append(((), "", "", ""))
    if reader.faults:
        raise _error_with_lines(path, reader.faults)
    return PresetFile(path, source, "read", reader.values)


Fault = tuple[tuple[str, ...], str, str, str]
"""An error in a configuration file: the keys that lead to the wrong value, the name of the rule
that the value breaks, the message for the user, and a hint."""


class _PresetReader:
    """A reader of the tables of one configuration file. It collects the presets and the errors."""

    def __init__(self, path: Path, source: Source) -> None:
        self.values: dict[tuple[str, str], Preset] = {}
        self.faults: list[Fault] = []
        self._path = path
        self._source = source

    def table(self, at: tuple[str, ...], table: object, verb: str = "") -> None:
        """Collect the presets in `table`. The keys `at` lead to this table in the file.

        :param verb: Verb whose presets the table contains. If it is empty, the table is the
            top-level one, which contains the presets for all verbs and the tables of single verbs.
        """
        if not isinstance(table, dict):
            self.faults.append((at, "wrong-type", f"`{at[-1]}` must be a table", ""))
            return
        tables = {} if verb else {table_of(each): each for each in verbs()}
        known = [name for name, one in OPTIONS.items() if not verb or verb in verbs_of(one)]
        for key, value in table.items():
            if key in tables:
                self.table((*at, key), value, tables[key])
            elif key not in known:
                self.faults.append(((*at, key), *_unknown(key, [*known, *tables], verb)))
            else:
                self._value((*at, key), OPTIONS[key], value, verb)

    def _value(self, at: tuple[str, ...], option: Option, given: object, verb: str) -> None:
        try:
            if self._source == "project":
                _check_harmless(option, given)
            if option.is_flag and not isinstance(given, bool):
                raise UsageError(f"it must be true or false, not {given!r}")
            value = option.read(given)
        except UsageError as error:
            self.faults.append(
                (at, "wrong-value", f"{option.setting}: {error.message}", error.hint)
            )
            return
        key = ".".join(at)
        self.values[verb, option.setting] = Preset(value, given, self._source, self._path, key)


def _check_harmless(option: Option, given: object) -> None:
    """Check that a project's configuration file may set an option to the value `given`.

    A stranger may have written the project, so its file must not set options that put the host at
    risk.
    """
    if option.preset_by != "project":
        user = preset_sources.user_file()
        raise UsageError(
            "a project's file must not set this option",
            hint=f"set it in {user or 'your own file'}, by {variable_of(option.setting)}, or on "
            "the command line",
        )
    if option.name == "image" and "/" in str(given):
        raise UsageError(
            "a project's file must name an image, not a folder",
            hint="give the image a name: `microvm image build NAME`, or `microvm image tag`",
        )


def _unknown(key: str, known: list[str], verb: str) -> tuple[str, str, str]:
    close = get_close_matches(key.lower().replace("-", "_"), known, 1)
    hint = f"did you mean `{close[0]}`?" if close else f"known: {', '.join(sorted(known))}"
    of = f" of `microvm {verb}`" if verb else ""
    return "unknown-key", f"`{key}` is not an option{of} that can be preset", hint


def _error_with_lines(path: Path, faults: list[Fault]) -> UsageError:
    """Return an error that shows each fault of a configuration file with the number of its line."""
    from microvm_proto.diagnostics import SchemaError
    from microvm_proto.load import Document

    detail = ""
    try:
        document = Document(path)
        for at, rule, message, hint in faults:
            document.error(rule, at, message, hint)
        document.check()
    except SchemaError as error:
        detail = str(error)
    return UsageError(
        f"{path}: the settings of microvm are wrong",
        hint=f"set {NO_FILES}=1 to ignore the file",
        detail=detail,
    )
