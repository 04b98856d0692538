"""Describes the result of a command for the JSON of `microvm map` and `microvm run --json`."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from microvm.errors import MicroVMError
from microvm.options import Text, to_bytes
from microvm.printable import printable


def facts(
    argv: Sequence[Text],
    *,
    returncode: int | None,
    error: BaseException | None,
    output: tuple[bytes, bytes] | None,
    seconds: float,
    memory: int | None,
) -> dict[str, object]:
    """Return the result of a command as a dictionary for JSON. docs/json.md lists the keys.

    Data that is not UTF-8 is in `argv_base64`, `stdout_base64` or `stderr_base64`, instead of the
    key without that suffix.

    :param returncode: Value of `CompletedProcess.returncode`; None if the command was not started
        or did not exit by itself.
    :param error: Reason why there is no return code, or error after the command, such as a file
        that could not be read.
    :param output: Standard output and standard error; None if they were not captured.
    """
    return {
        **_command_line(argv),
        "status": status(returncode, error),
        "signal": -returncode if returncode is not None and returncode < 0 else None,
        "reason": _reason(returncode, error),
        **({} if output is None else text("stdout", output[0]) | text("stderr", output[1])),
        "seconds": round(seconds, 6),
        "memory": memory,
        "error": None if error is None else printable(str(error)),
    }


def status(returncode: int | None, error: BaseException | None) -> int:
    """Return the exit status of `microvm run` for a command with this return code or error."""
    if returncode is None:
        return getattr(error, "exit_status", MicroVMError.exit_status)
    # The command succeeded, but a file could not be collected afterwards. `microvm run` then exits
    # with the status for errors of microvm.
    if returncode == 0 and error is not None:
        return MicroVMError.exit_status
    return returncode if returncode >= 0 else 128 - returncode


def _reason(returncode: int | None, error: BaseException | None) -> str:
    if error is not None:
        return type(error).__name__
    if returncode is None:
        return "interrupted"
    return "exited" if returncode >= 0 else "signal"


def text(name: str, data: bytes) -> dict[str, str]:
    """Return an item for a JSON object: `data` as text, under the key `name`.

    If the data is not UTF-8, the text is Base64, and the key is `name` with the suffix `_base64`.
    """
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def _command_line(argv: Sequence[Text]) -> dict[str, list[str]]:
    arguments = [to_bytes(argument) for argument in argv]
    try:
        return {"argv": [argument.decode() for argument in arguments]}
    except UnicodeDecodeError:
        return {"argv_base64": [base64.b64encode(argument).decode() for argument in arguments]}
