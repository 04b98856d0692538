"""Runs a command in a guest as `subprocess.run` does, with input, text and captured output."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from subprocess import PIPE
from typing import Any, Unpack, cast

from microvm.errors import ExecKilled, UsageError
from microvm.guest.executor import Executor
from microvm.guest.process import CompletedProcess
from microvm.guest.stdio import copy_out
from microvm.option import options_of, read_options
from microvm.options import ExecOptions, RunOptions, Text


async def run(
    guest: Executor, argv: Sequence[Text], **options: Unpack[RunOptions]
) -> CompletedProcess[Any]:
    """Run a command until it exits; see `MicroVM.run`.

    :raises UsageError: If an option is invalid, or `input` and `stdin` are both given.
    :raises TypeError: If an option does not exist.
    :raises CalledProcessError: If `check` is set and the exit code is not 0.
    :raises UnicodeError: If text was requested, and the input or output cannot be converted.
    :raises OSError: If the output cannot be written to the standard streams of this process.
    :raises StartError: Or another error of `Guest.exec` and `Process.wait`.
    """
    values = read_options(RunOptions, options)
    exec_options = {
        name: value for name, value in options.items() if name in options_of(ExecOptions)
    }
    given = values["input"]
    as_text = bool(values["text"] or values["encoding"] or values["errors"])
    decode = _OutputDecoder(as_text, values["encoding"] or "utf-8", values["errors"] or "strict")
    if given is not None:
        if exec_options.get("stdin") is not None:
            raise UsageError("input and stdin cannot be used together")
        exec_options["stdin"] = PIPE
    data = given.encode(decode.encoding, decode.errors) if isinstance(given, str) else given
    out: bytes | None = None
    err: bytes | None = None
    async with await guest.start(argv, **cast(ExecOptions, exec_options)) as process:
        try:
            if values["capture_output"]:
                out, err = await process._collect(data)
            else:
                await asyncio.gather(
                    process._feed_all(data),
                    copy_out(process.stdout, 1),
                    copy_out(process.stderr, 2),
                )
            returncode = await process.wait()
        except ExecKilled as error:
            error.stdout, error.stderr = decode.cut(out), decode.cut(err)
            raise
    completed = CompletedProcess(process.args, returncode, decode(out), decode(err), process.memory)
    if values["check"]:
        completed.check_returncode()
    return completed


@dataclass(frozen=True, slots=True)
class _OutputDecoder:
    """A converter of output into the requested type: bytes, or text with universal newlines."""

    text: bool
    encoding: str
    errors: str

    def __call__(self, data: bytes | None) -> bytes | str | None:
        if data is None or not self.text:
            return data
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")

    def cut(self, data: bytes | None) -> bytes | str | None:
        """Convert incomplete output, which may stop in the middle of a character."""
        errors = "replace" if self.errors == "strict" else self.errors
        return replace(self, errors=errors)(data)
