"""`run` does in a guest what `subprocess.run` does: input, text, captured output, a check."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from subprocess import PIPE
from typing import Any, Unpack, cast

from microvm.errors import ExecKilled, UsageError
from microvm.guest.executor import Executor
from microvm.guest.process import CompletedProcess, Process
from microvm.guest.stdio import copy_out
from microvm.option import options_of, read_options
from microvm.options import ExecOptions, RunOptions, Text


async def run(
    guest: Executor, argv: Sequence[Text], **options: Unpack[RunOptions]
) -> CompletedProcess[Any]:
    """Run a command to its end; see `MicroVM.run`.

    :raises UsageError: an option cannot be, or `input` is given and `stdin` says something else.
    :raises TypeError: there is no such option.
    :raises CalledProcessError: `check` was asked for, and its exit code is not 0.
    :raises UnicodeError: text was asked for, and its output, or `input`, is none.
    :raises OSError: its output cannot be passed on to our own.
    :raises StartError: and whatever else `Guest.exec` and `Process.wait` raise.
    """
    asked = read_options(RunOptions, options)
    how = {name: value for name, value in options.items() if name in options_of(ExecOptions)}
    given, decode = asked["input"], _decoder(asked["text"], asked["encoding"], asked["errors"])
    if given is not None:
        if how.get("stdin") is not None:
            raise UsageError("input is fed to standard input: stdin says something else")
        how["stdin"] = PIPE
    data = given.encode(decode.encoding, decode.errors) if isinstance(given, str) else given
    out: bytes | None = None
    err: bytes | None = None
    async with await guest.start(argv, **cast(ExecOptions, how)) as process:
        try:
            if asked["capture_output"]:
                out, err = await process._collect(data)
            else:
                await _pass_on(process, data)
            returncode = await process.wait()
        except ExecKilled as error:
            error.stdout, error.stderr = decode.cut(out), decode.cut(err)
            raise
    completed = CompletedProcess(process.args, returncode, decode(out), decode(err), process.memory)
    if asked["check"]:
        completed.check_returncode()
    return completed


async def _pass_on(process: Process, data: bytes | None) -> None:
    await asyncio.gather(
        process._feed_all(data), copy_out(process.stdout, 1), copy_out(process.stderr, 2)
    )


@dataclass(frozen=True, slots=True)
class _OutputDecoder:
    """A decoder turns output into what was asked for: bytes, or text with universal newlines."""

    text: bool
    encoding: str
    errors: str

    def __call__(self, data: bytes | None) -> bytes | str | None:
        if data is None or not self.text:
            return data
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")

    def cut(self, data: bytes | None) -> bytes | str | None:
        """Decode what ends somewhere: in the middle of a character, too."""
        errors = "replace" if self.errors == "strict" else self.errors
        return replace(self, errors=errors)(data)


def _decoder(text: bool, encoding: str | None, errors: str | None) -> _OutputDecoder:
    asked = text or encoding is not None or errors is not None
    return _OutputDecoder(asked, encoding or "utf-8", errors or "strict")
