"""Runs a command in a guest until it exits, as `subprocess.run` does on the host."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from subprocess import PIPE, STDOUT
from typing import Any, Unpack

from microvm.errors import ExecKilled, StartError, UsageError
from microvm.guest.executor import Executor
from microvm.guest.process import CompletedProcess
from microvm.guest.stdio import copy_out, write
from microvm.guest.streams import OutputStream
from microvm.option import ParsedOptions, parse_options
from microvm.options import Argv, RunOptions


async def run(guest: Executor, argv: Argv, **options: Unpack[RunOptions]) -> CompletedProcess[Any]:
    """Run a command until it exits; see `MicroVM.run`."""
    return await run_parsed(guest, argv, parse_options(RunOptions, options, "run"))


async def run_parsed(guest: Executor, argv: Argv, options: ParsedOptions) -> CompletedProcess[Any]:
    """Run a command in the guest until it exits, with options that are already checked."""
    given, decode = options["input"], _decoder(options)
    if given is not None:
        if "stdin" in options.given:
            raise UsageError("input and stdin cannot be used together")
        options = options.replace(stdin=PIPE)
    data = given.encode(decode.encoding, decode.errors) if isinstance(given, str) else given
    limit, out, err = options["capture_limit"], _Captured(), _Captured()
    async with await guest.start(argv, options) as process:
        try:
            if options["capture_output"]:
                await asyncio.gather(
                    process._feed_all(data),
                    out.read(process.stdout, limit),
                    err.read(process.stderr, limit),
                )
            else:
                await asyncio.gather(
                    process._feed_all(data),
                    copy_out(process.stdout, 1),
                    copy_out(process.stderr, 2),
                )
            returncode = await process.wait()
        except ExecKilled as error:
            out.is_cut = err.is_cut = True
            error.stdout, error.stderr = decode(out), decode(err)
            raise
        except StartError as error:
            if options["check_start"] or not error.is_of_program:
                raise
            returncode = error.exit_status
            target, descriptor = (out, 1) if options["stderr"] == STDOUT else (err, 2)
            reason = f"{error.message}\n".encode(decode.encoding, "backslashreplace")
            if options["capture_output"]:
                target.data = reason
            else:
                await write(descriptor, reason)
    completed = CompletedProcess(
        process.args,
        returncode,
        decode(out),
        decode(err),
        process.memory,
        truncated=out.is_cut or err.is_cut,
    )
    if options["check"]:
        completed.check_returncode()
    return completed


@dataclass(slots=True)
class _Captured:
    """The captured output of one stream.

    :ivar data: The output, or None if it is not captured.
    :ivar is_cut: True if the end of the output is missing, possibly from the middle of a character.
    """

    data: bytes | None = None
    is_cut: bool = False

    async def read(self, stream: OutputStream, limit: int | None) -> None:
        """Read a stream to its end. Store its first `limit` bytes, or all of them for None."""
        if limit is None:
            self.data = await stream.read()
            return
        kept = bytearray()
        while chunk := await stream.next_chunk():
            room = limit - len(kept)
            kept += chunk[:room]
            self.is_cut = self.is_cut or len(chunk) > room
        self.data = bytes(kept)


@dataclass(frozen=True, slots=True)
class _ResultDecoder:
    """A converter of a command's output to the type that the caller wants: bytes, or text."""

    text: bool
    encoding: str
    errors: str
    translates: bool

    def __call__(self, output: _Captured) -> bytes | str | None:
        if output.data is None or not self.text:
            return output.data
        # The last character may be incomplete, so replace the invalid bytes of this output.
        lenient = output.is_cut and self.errors == "strict"
        text = output.data.decode(self.encoding, "replace" if lenient else self.errors)
        return text.replace("\r\n", "\n").replace("\r", "\n") if self.translates else text


def _decoder(options: ParsedOptions) -> _ResultDecoder:
    encoding, errors = options["encoding"], options["errors"]
    is_text = options["text"] or encoding is not None or errors is not None
    exact = "newline" in options.given
    if exact and not is_text:
        raise UsageError("newline has no effect without text mode: set text, too")
    return _ResultDecoder(is_text, encoding or "utf-8", errors or "strict", not exact)
