"""A loader of TOML files, such as schemas, which remembers the position of each value."""

from __future__ import annotations

import difflib
import errno
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any, TypeVar

from microvm_proto import positions
from microvm_proto.diagnostics import CONTROL, Diagnostic, SchemaError
from microvm_proto.positions import START, Path, Position

T = TypeVar("T", str, int, bool, float)

_TOML_ERROR = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)
# Matches dotted keys that have too many parts, such as `a.b.c`. These keys are refused, because the
# memory that tomllib needs for a key grows with the square of the number of its parts.
_LONG_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*){32}""")
_KINDS = {str: "a string", int: "an integer", bool: "true or false", float: "a number"}
_SAMPLES = {str: '"…"', int: "1", bool: "true", float: "0.5"}
_NOT_PLAIN = "write the content to a regular file, and name that file"
_PLURALS = {str: "strings", int: "integers"}


LIMIT = 16 << 20
"""Maximum number of bytes in a TOML file."""


def content(path: FilePath) -> bytes:
    """Return the content of a regular file that has at most `LIMIT` bytes."""
    # Without O_NONBLOCK, opening a FIFO would wait until another process opens it for writing.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "Not a plain file", os.fspath(path))
        data = file.read(LIMIT + 1)
    if len(data) > LIMIT:
        raise OSError(errno.EFBIG, f"Longer than {LIMIT >> 20} MiB", os.fspath(path))
    return data


class Document:
    """A TOML file, with the errors and notes that were recorded about it."""

    def __init__(self, path: FilePath, text: str | None = None) -> None:
        """Read and parse the TOML file at `path`, or parse `text` as if it were its content."""
        self.path = path
        self.text = ""
        self.diagnostics: list[Diagnostic] = []
        self.positions: dict[Path, Position] = {(): START}
        self._reported: set[Path] = set()
        try:
            # Some editors begin a file with a byte-order mark, which "utf-8-sig" removes.
            self.text = content(path).decode("utf-8-sig") if text is None else text
            if _LONG_KEY.search(self.text):
                raise RecursionError
            self.data: dict[str, Any] = tomllib.loads(self.text)
            self.positions = positions.index(self.text)
        except OSError as error:
            hint = _NOT_PLAIN if error.errno == errno.EINVAL else ""
            raise self._fail("unreadable", error.strerror or str(error), None, hint) from None
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            where, hint = Position(line, 1), "save the file as UTF-8"
            raise self._fail("encoding", "the file is not UTF-8", where, hint) from None
        except RecursionError:
            raise self._fail("syntax", "Nested too deeply", START) from None
        # tomllib raises a `ValueError` for a syntax error, and Python for an integer with too many
        # digits. Both are reported as syntax errors.
        except ValueError as error:
            raise self._fail("syntax", *self._syntax_error(str(error))) from None

    def _fail(
        self, rule: str, message: str, position: Position | None, hint: str = ""
    ) -> SchemaError:
        return SchemaError(self.path, self.text, [Diagnostic(rule, message, hint, position)])

    def _syntax_error(self, error: str) -> tuple[str, Position]:
        match = _TOML_ERROR.match(error)
        if not match:
            return error, START
        if match[2] is None:
            lines = self.text.rstrip("\r\n").split("\n")
            return match[1], Position(len(lines), len(lines[-1]) + 1)
        return match[1], Position(int(match[2]), int(match[3]))

    def error(self, rule: str, path: Path, message: str, hint: str = "") -> None:
        """Record an error at the path of a value, or at its nearest parent that has a position.

        Only the first error about a value and the values in it is kept, because it probably causes
        the others.
        """
        if any(path[:length] in self._reported for length in range(1, len(path) + 1)):
            return
        self._reported.add(path)
        self.diagnostics.append(Diagnostic(rule, message, hint, self._near(path)))

    def note(self, rule: str, path: Path, message: str) -> None:
        """Record a note at the path of a value, unless the same note has been recorded before."""
        note = Diagnostic(rule, message, "", self._near(path), is_note=True)
        if note not in self.diagnostics:
            self.diagnostics.append(note)

    def _near(self, path: Path) -> Position:
        while path not in self.positions:
            path = path[:-1]
        return self.positions[path]

    def check(self) -> None:
        """Raise a `SchemaError` with all errors and notes, if any was recorded."""
        if self.diagnostics:
            raise SchemaError(self.path, self.text, self.diagnostics)

    def root(self) -> Table:
        """Return the root table of the file."""
        return Table(self, (), self.data)


class Table:
    """A table of a TOML file, from which keys are read one by one.

    The methods return the values of keys, and record an error if a value is invalid. At the end,
    `done` records an error for each key that no method has read.
    """

    def __init__(self, document: Document, path: Path, data: dict[str, Any]) -> None:
        self.document = document
        self.path = path
        self.data = data
        self.known_keys: list[str] = []

    def at(self, *keys: str | int) -> Path:
        """Return the path of a value in this table, such as `("message", 3, "name")`."""
        return (*self.path, *keys)

    def error(self, rule: str, key: str, message: str, hint: str = "") -> None:
        """Record an error about a key of this table."""
        self.document.error(rule, self.at(key), message, hint)

    def get(self, key: str, kind: type[T], default: T) -> T:
        """Return the value of an optional key; the default if it is absent or has another type."""
        return default if (value := self.optional(key, kind)) is None else value

    def require(self, key: str, kind: type[T]) -> T:
        """Return a required value. If it is missing, record an error, and return an empty value."""
        value = self.optional(key, kind)
        if value is None:
            if key not in self.data:
                self.error("missing-key", key, f"`{key}` is missing", f"add `{key} = …`")
            return kind()
        return value

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Return the value of an optional key; None if it is absent or has another type."""
        self.known_keys.append(key)
        value = self.data.get(key)
        if value is None:
            return None
        if kind is float and type(value) is int and abs(value) < 1 << 63:
            value = float(value)
        if type(value) is not kind:
            hint = f"such as `{key} = {_SAMPLES[kind]}`"
            self.error("wrong-type", key, f"`{key}` must be {_KINDS[kind]}", hint)
            return None
        if isinstance(value, str) and CONTROL.search(value):
            message = f"`{key}` contains a control character"
            self.error("control-character", key, message, "remove it")
            return None
        return value

    def items(self, key: str, kind: type[T]) -> tuple[T, ...]:
        """Return the list of values of an optional key; an empty list if the key is absent."""
        self.known_keys.append(key)
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(type(item) is kind for item in value):
            hint = f"such as `{key} = [{_SAMPLES[kind]}, …]`"
            self.error("wrong-type", key, f"`{key}` must be a list of {_PLURALS[kind]}", hint)
            return ()
        return tuple(value)

    def tables(self, key: str) -> Iterator[Table]:
        """Yield each table of TOML's array of tables `key`, in order; none if it is missing."""
        self.known_keys.append(key)
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            name = ".".join(part for part in self.at(key) if isinstance(part, str))
            hint = f"write [[{name}]]"
            self.error("wrong-type", key, f"`{key}` must be an array of tables", hint)
            return
        for number, item in enumerate(value):
            yield Table(self.document, self.at(key, number), item)

    def table(self, key: str) -> Table:
        """Return a required table. If it is missing, record an error and return an empty table."""
        self.known_keys.append(key)
        value = self.data.get(key)
        if not isinstance(value, dict):
            if value is None:
                self.error("missing-key", key, f"the table [{key}] is missing", f"add [{key}]")
            else:
                self.error("wrong-type", key, f"`{key}` must be one table", f"write [{key}]")
            value = {}
        return Table(self.document, self.at(key), value)

    def done(self) -> None:
        """Record an error for every key that no method has read, because the key is unknown."""
        for key in self.data:
            if key not in self.known_keys:
                close = difflib.get_close_matches(key.lower(), self.known_keys, 1)
                known = ", ".join(f"`{name}`" for name in sorted(set(self.known_keys)))
                hint = f"did you mean `{close[0]}`?" if close else f"known: {known}"
                self.error("unknown-key", key, f"`{key}` is not a key of this table", hint)
