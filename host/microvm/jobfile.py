"""Jobs as lines of text, and what became of them as lines of JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from microvm.errors import MicroVMError, UsageError
from microvm.job import Job, Outcome
from microvm.options import RunOptions
from microvm.units import parse_duration, parse_memory_limit, parse_size

# The keys of a job that is an object, and what each may hold: names of RunOptions, but for the
# first three.
_KEYS: dict[str, tuple[type, ...]] = {
    "argv": (list,),
    "id": (object,),
    "stdin": (str,),
    "env": (dict,),
    "cwd": (str,),
    "user": (str, int),
    "timeout": (int, float, str),
    "grace": (int, float, str),
    "max_output": (int, str),
    "max_processes": (int,),
    "max_memory": (int, str),
}

_UNITS: dict[str, Callable[[Any], float]] = {
    "timeout": parse_duration,
    "grace": parse_duration,
    "max_output": parse_size,
    "max_memory": parse_memory_limit,
}


@dataclass(frozen=True, slots=True)
class LineJob(Job):
    """A job and where it came from.

    :ivar line: its number, from 1.
    :ivar id: what its object called it, if anything.
    """

    line: int = 0
    id: object = None


async def parse(
    lines: AsyncIterable[bytes], env: Mapping[str, str] | None = None
) -> AsyncIterator[LineJob]:
    """Give the jobs that the lines stand for.

    A line that begins with `[` is a JSON array, the command line; one that begins with `{` is a
    JSON object with `argv` and options; any other is for `sh -c`. Empty lines and those that begin
    with `#` are skipped.

    :param env: variables of every job, under its own.
    :raise UsageError: a line is not what its beginning promises; says which.
    """
    number = 0
    async for raw in lines:
        number += 1
        line = raw.decode("utf-8", "surrogateescape").strip()
        if not line or line.startswith("#"):
            continue
        try:
            given = _fields(line)
            yield LineJob(given.pop("argv"), _options(given, env or {}), number, given.get("id"))
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
        raise UsageError(f"this is no JSON: {reason}", hint=hint) from None
    given: dict[str, Any] = {"argv": value} if isinstance(value, list) else value
    for key, content in given.items():
        if key not in _KEYS:
            raise UsageError(f"there is no {key!r} in a job; there are {', '.join(_KEYS)}")
        if not isinstance(content, _KEYS[key]) or (isinstance(content, bool) and key != "id"):
            raise UsageError(f"{key} cannot be {json.dumps(content)}")
    argv = given.get("argv")
    if not argv or not all(isinstance(argument, str) for argument in argv):
        raise UsageError("argv is an array of strings, and not empty")
    if not all(isinstance(content, str) for content in given.get("env", {}).values()):
        raise UsageError("env is an object of strings")
    return given


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is none")


def _options(given: Mapping[str, Any], env: Mapping[str, str]) -> RunOptions:
    options = {key: content for key, content in given.items() if key not in ("id", "stdin")}
    for key, parse in _UNITS.items():
        if key in options:
            try:
                options[key] = parse(options[key])
            except UsageError as error:
                raise UsageError(f"{key}: {error.message}", hint=error.hint) from None
    options["env"] = {**env, **given.get("env", {})}
    if "stdin" in given:
        try:
            options["input"] = given["stdin"].encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise UsageError(f"stdin cannot be written as bytes: {error.reason}") from None
    return cast(RunOptions, options)


def status(outcome: Outcome[Any]) -> int:
    """The exit status that `microvm run` would have for it."""
    if isinstance(outcome.error, MicroVMError):
        return outcome.error.exit_status
    if outcome.completed is None:
        return MicroVMError.exit_status
    returncode = outcome.completed.returncode
    return returncode if returncode >= 0 else 128 - returncode


def report(outcome: Outcome[Any]) -> bytes:
    """Say in a line of ASCII what became of a job.

    Output that is no UTF-8 is in `stdout_base64` and `stderr_base64`, in place of `stdout` and
    `stderr`. `id` is there for who gave one.
    """
    job, completed, error = cast(LineJob, outcome.job), outcome.completed, outcome.error
    returncode = completed.returncode if completed else 0
    source = completed or error
    facts = {
        "line": job.line,
        **({} if job.id is None else {"id": job.id}),
        "argv": list(job.argv),
        "status": status(outcome),
        "signal": -returncode if returncode < 0 else None,
        **_output("stdout", getattr(source, "stdout", None)),
        **_output("stderr", getattr(source, "stderr", None)),
        "seconds": round(outcome.seconds, 6),
        "error": None if error is None else str(error),
    }
    return json.dumps(facts).encode() + b"\n"


def _output(name: str, data: bytes | None) -> dict[str, str]:
    data = data or b""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}
