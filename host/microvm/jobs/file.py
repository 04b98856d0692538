"""Reads jobs from the input lines of `microvm map`, and writes their outcomes as lines of JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

from microvm.errors import UsageError
from microvm.guest import pattern
from microvm.jobs import ending
from microvm.jobs.job import Job, Outcome
from microvm.option import Option, options_of
from microvm.options import ExecOptions, Text, to_bytes

_OPTIONS = {
    name: option for name, option in options_of(ExecOptions).items() if "map" in option.verbs
}

# For each type in the type hint of an option: the types that Python's json module returns for valid
# values of the option.
_JSON: dict[object, tuple[type, ...]] = {
    str: (str,),
    Path: (str,),
    int: (int,),
    float: (int, float),
    bool: (bool,),
    list: (list,),
    Sequence: (list,),
    Mapping: (dict,),
}


def _json_types(hint: Any) -> tuple[type, ...]:
    origin = get_origin(hint)
    if origin is Literal:
        return tuple(type(value) for value in get_args(hint))
    if origin in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _json_types(part))
    return _JSON.get(origin or hint, ())


# The keys of a job that is a JSON object, and the allowed types of their values.
_KEYS: dict[str, tuple[type, ...]] = {
    "argv": (list,),
    "argv_base64": (list,),
    "id": (str, int, float, bool, list, dict, NoneType),
    "stdin": (str,),
    "stdin_base64": (str,),
    "files": (dict,),
    "collect": (list,),
    **{name: _json_types(option.type) for name, option in _OPTIONS.items()},
}

_TYPE_NAMES: dict[type, str] = {
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    NoneType: "null",
}

_LISTED = 'such as ["ls", "-l"]; a line that is not JSON, such as ls -l, is a command for the shell'

_STDIN = Option("Send this to the standard input.", to_bytes, name="stdin")


@dataclass(frozen=True, slots=True, init=False)
class LineJob(Job):
    """A job from an input line of `microvm map`. Its options are already checked.

    :ivar line: Number of the line, from 1.
    :ivar id: Value of the key `id` in the line, or None.
    """

    line: int
    id: object

    def __init__(
        self,
        argv: Sequence[Text],
        *,
        line: int,
        id: object = None,  # noqa: A002 - the name of the key
        files: Mapping[str, str | bytes] | None = None,
        collect: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self._set(argv, files, collect, options)
        object.__setattr__(self, "line", line)
        object.__setattr__(self, "id", id)


async def parse(
    lines: AsyncIterable[bytes], env: Mapping[str, str] | Mapping[bytes, bytes] | None = None
) -> AsyncIterator[LineJob]:
    """Yield the jobs that `lines` describe, with the environment variables `env` for all jobs.

    A line that begins with `[` is a JSON array with the arguments, and one that begins with `{` is
    a JSON object with `argv` and options. Any other line is a command for `sh -c`. Empty lines and
    lines that begin with `#` are ignored.

    :param env: Environment variables of all jobs. The variables of a job take precedence.
    :raises UsageError: If a line is invalid. The message begins with the number of the line.
    """
    variables = _OPTIONS["env"].check(env or {})
    number = 0
    async for raw in lines:
        number += 1
        line = raw.decode("utf-8", "surrogateescape").strip()
        if not line or line.startswith("#"):
            continue
        try:
            given = _fields(line)
            yield LineJob(
                given["argv"],
                line=number,
                id=given.get("id"),
                files=_files(given.get("files", {})),
                collect=_collected(given.get("collect", [])),
                **_options(given, variables),
            )
        except UsageError as error:
            raise UsageError(f"line {number}: {error.message}", hint=error.hint) from None


def _fields(line: str) -> dict[str, Any]:
    if line[0] not in "[{":
        return {"argv": ["sh", "-c", line]}
    try:
        value = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else error
        hint = 'a shell command that begins so is ["sh", "-c", "…"]'
        raise UsageError(f"this is not valid JSON: {reason}", hint=hint) from None
    given: dict[str, Any] = {"argv": value} if isinstance(value, list) else value
    for key, content in given.items():
        if key not in _KEYS:
            raise UsageError(f"a job has no key {key!r}; its keys are {', '.join(_KEYS)}")
        if key == "env" and not (
            isinstance(content, dict) and all(isinstance(each, str) for each in content.values())
        ):
            # do not show the value of `env` in the error, because it may contain secrets
            raise UsageError("env must be an object of strings")
        if type(content) not in _KEYS[key]:
            expected = " or ".join(dict.fromkeys(_TYPE_NAMES[kind] for kind in _KEYS[key]))
            message = f"{key} must be {expected}, not {json.dumps(content)}"
            raise UsageError(message, hint=_LISTED if key == "argv" else "")
    for plain in ("argv", "stdin"):
        if plain in given and f"{plain}_base64" in given:
            raise UsageError(f"{plain} and {plain}_base64 cannot be used together: give one")
    if not _is_utf_8(json.dumps(given.get("id"), ensure_ascii=False)):
        raise UsageError("id contains text that is not UTF-8")
    _argv(given)
    return given


def _argv(given: dict[str, Any]) -> None:
    """Check the arguments of the command in a job's JSON object, and store them under `argv`."""
    name = "argv_base64" if "argv_base64" in given else "argv"
    argv = given.pop(name, None)
    if not argv or not all(isinstance(argument, str) for argument in argv):
        raise UsageError(f"{name} must be a non-empty array of strings", hint=_LISTED)
    if name == "argv":
        given["argv"] = argv
        for argument in argv:
            to_bytes(argument)
    else:
        given["argv"] = [_decode_base64(name, argument) for argument in argv]


def _decode_base64(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise UsageError(f"{name} is not Base64: {text!r}") from None


def _files(given: Mapping[str, Any]) -> dict[str, bytes]:
    files = {}
    for path, content in given.items():
        _check_path("files", path)
        match content:
            case str():
                files[path] = to_bytes(content)
            case {"base64": str(text), **rest} if not rest:
                files[path] = _decode_base64("files", text)
            case _:
                raise UsageError(f'files: {path!r} must be a string, or {{"base64": "…"}}')
    return files


def _collected(given: Sequence[Any]) -> tuple[str, ...]:
    for path in given:
        _check_path("collect", path)
        try:
            pattern.check(path)
        except UsageError as error:
            raise UsageError(f"collect: {error.message}") from None
    return tuple(dict.fromkeys(given))


def _check_path(name: str, path: object) -> None:
    if not isinstance(path, str) or not path or "\0" in path or not _is_utf_8(path):
        raise UsageError(f"{name}: {json.dumps(path)} is not a path in the guest")


def _is_utf_8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _options(given: Mapping[str, Any], env: Mapping[bytes, bytes]) -> dict[str, Any]:
    options = {
        name: option.check(given[name]) for name, option in _OPTIONS.items() if name in given
    }
    options["env"] = {**env, **options.get("env", {})}
    if "stdin" in given:
        options["input"] = _STDIN.check(given["stdin"])
    if "stdin_base64" in given:
        options["input"] = _decode_base64("stdin_base64", given["stdin_base64"])
    return options


def status(outcome: Outcome[Any]) -> int:
    """Return the exit status that `microvm run` would have for a command with this outcome."""
    completed = outcome.completed
    return ending.status(completed.returncode if completed else None, outcome.error)


def report(outcome: Outcome[Any]) -> bytes:
    """Return the outcome of a job as a line of JSON in ASCII.

    The JSON object has the keys of `ending.facts`. It also has `id` if the job has one. If the job
    collects files, `files` contains the content of each by its path, as text or as an object with
    the key `base64`.
    """
    job, completed, error = cast(LineJob, outcome.job), outcome.completed, outcome.error
    source = completed or error
    facts = {
        "line": job.line,
        **({} if job.id is None else {"id": job.id}),
        **ending.facts(
            job.argv,
            returncode=completed.returncode if completed else None,
            error=error,
            output=(getattr(source, "stdout", b"") or b"", getattr(source, "stderr", b"") or b""),
            seconds=outcome.seconds,
            memory=getattr(source, "memory", None),
        ),
    }
    if job.collect:
        facts["files"] = {path: _content(data) for path, data in outcome.files.items()}
    return json.dumps(facts).encode() + b"\n"


def _content(data: bytes) -> object:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
