"""Runs a command in a guest until it exits, as `subprocess.run` does on the host."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from subprocess import PIPE
from typing import Any, Unpack

from microvm.errors import ExecKilled, UsageError
from microvm.guest.executor import Executor
from microvm.guest.process import CompletedProcess
from microvm.guest.stdio import copy_out
from microvm.option import ParsedOptions, parse_options
from microvm.options import RunOptions, Text


async def run(
    guest: Executor, argv: Sequence[Text], **options: Unpack[RunOptions]
) -> CompletedProcess[Any]:
    """Run a command until it exits; see `MicroVM.run`."""
    return await run_parsed(guest, argv, parse_options(RunOptions, options, "run"))


async def run_parsed(
    guest: Executor, argv: Sequence[Text], options: ParsedOptions
) -> CompletedProcess[Any]:
    """Run a command in the guest until it exits, with options that are already checked."""
    given, decode = options["input"], _decoder(options)
    if given is not None:
        if "stdin" in options.given:
            raise UsageError("input and stdin cannot be used together")
        options = options.replace(stdin=PIPE)
    data = given.encode(decode.encoding, decode.errors) if isinstance(given, str) else given
    out: bytes | None = None
    err: bytes | None = None
    async with await guest.start(argv, options) as process:
        try:
            if options["capture_output"]:
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
    if options["check"]:
        completed.check_returncode()
    return completed


@dataclass(frozen=True, slots=True)
class _ResultDecoder:
    """A converter of a command's output to the type that the caller wants: bytes, or text."""

    text: bool
    encoding: str
    errors: str

    def __call__(self, data: bytes | None) -> bytes | str | None:
        if data is None or not self.text:
            return data
        return data.decode(self.encoding, self.errors).replace("\r\n", "\n").replace("\r", "\n")

    def cut(self, data: bytes | None) -> bytes | str | None:
        """Convert output that was cut off, possibly within a character; None stays None."""
        errors = "replace" if self.errors == "strict" else self.errors
        return replace(self, errors=errors)(data)


def _decoder(options: ParsedOptions) -> _ResultDecoder:
    encoding, errors = options["encoding"], options["errors"]
    is_text = options["text"] or encoding is not None or errors is not None
    return _ResultDecoder(is_text, encoding or "utf-8", errors or "strict")
