"""Runs the commands of a recipe, each in a machine of the unfinished image."""

from __future__ import annotations

import asyncio
import os
import re
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, BinaryIO, Unpack

from microvm.concurrency.loop import BackgroundLoop
from microvm.concurrency.threads import check_stopped
from microvm.errors import ExecError, ImageError, MicroVMError, OutputLimit, StartError
from microvm.machine import hints
from microvm.machine.machine import MicroVM
from microvm.options import ExecOptions, MachineOptions
from microvm.qemu.logged_lines import sanitised
from microvm.start.retry import Retries
from microvm_image.limits import Limits
from microvm_image.programs import PACK

if TYPE_CHECKING:
    from microvm.guest.streams import OutputStream
    from microvm.images import Image

_LINE_SIZE = 1 << 12
_SHOWN_EVERY = 256 << 20
_LAST_LINES = 20
_INTERVAL = 0.2  # number of seconds between two checks whether the thread must stop

_NO_NETWORK = (
    "a machine has no network: install Python packages with `--pip`, and packages of a distribution"
    " with `--package`; fetch everything else here, and add it with `--add`"
)
_TOO_LARGE = (
    "remove files in the step that the image does not need; or raise the limit: "
    "`microvm image build --limit unpacked=SIZE`"
)

# A pattern for errors of microvm's programs in the guest, such as "errno 28". The programs contain
# no texts of errors, to be smaller. So the host replaces each number by its text.
_ERRNO = re.compile(r"\berrno ([0-9]{1,3})$", re.MULTILINE)


class StepRunner:
    """Runs the commands of a recipe in machines, and packs the files that each command changes."""

    def __init__(
        self, *, limit: int = Limits().unpacked, **options: Unpack[MachineOptions]
    ) -> None:
        """Set the options of the machines that run the commands, and the limit of each command.

        Each machine is booted, and never cloned.

        :param limit: Maximum size of the files that a command changes, in bytes.
        """
        self._limit = limit
        self._options = options

    def __call__(
        self,
        image: Image,
        command: Sequence[str],
        show: Callable[[str], None],
        layer: BinaryIO,
    ) -> None:
        """Run a command in a new machine, and write a tar archive of the changed files to `layer`.

        :param show: A function that is called with each line of the command's output.
        :raises ImageError: The command failed; `detail` has the last lines of its output.
        :raises MicroVMError: The machine did not start, or died.
        """

        async def run() -> None:
            machine = await _started(image, {**self._options, "cold": True}, show)
            try:
                await _command(machine, command, show)
                await _pack(machine, layer, self._limit, show)
            finally:
                await machine.stop()

        loop = BackgroundLoop(_nothing, str)
        try:
            loop.run(_until_stopped(run(), copy_context()))
        finally:
            loop.close()


async def _started(image: Image, options: MachineOptions, show: Callable[[str], None]) -> MicroVM:
    """Start a machine for a command. If a start fails, tell `show`, and start another machine."""
    retries = Retries()
    while True:
        machine, attempt = MicroVM(image, **options), retries.begin()
        try:
            await machine.start()
        except MicroVMError as error:
            pause = retries.fail(attempt, error)
            show(f"a machine was lost while it started: {error.message}; starting another")
            await asyncio.sleep(pause)
        else:
            return machine


async def _until_stopped(work: Coroutine[Any, Any, None], context: Context) -> None:
    """Run a coroutine. Cancel it if the thread with this context must stop; see `check_stopped`."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            context.run(check_stopped)
            await asyncio.wait([task], timeout=_INTERVAL)
    finally:
        task.cancel()
        await asyncio.wait([task])
    task.result()


async def _nothing() -> None:
    pass


async def _command(machine: MicroVM, command: Sequence[str], show: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=_LAST_LINES)

    def keep(line: str) -> None:
        last.append(line)
        show(line)

    try:
        async with await machine.exec(command) as process:
            await asyncio.gather(_follow(process.stdout, keep), _follow(process.stderr, keep))
            status = await process.wait()
    except StartError as error:
        without_shell = error.stage == "lookup" and command[0] == "sh"
        raise ImageError(
            f"the step failed: {error.message}",
            hint="without a shell, a command is a list of words in a machine file"
            if without_shell
            else "",
        ) from error
    except MicroVMError as error:  # the machine failed during the command, such as by GuestDied
        output = "\n".join(last) or error.detail
        raise ImageError(
            f"the step failed: {error.message}", hint=error.hint, detail=output
        ) from error
    if status:
        how = f"exited with status {status}" if status > 0 else f"was killed by signal {-status}"
        output = "\n".join(last)
        hint = _NO_NETWORK if hints.wants_network(output.encode()) else ""
        raise ImageError(f"the step {how}", hint=hint, detail=output)


async def _pack(machine: MicroVM, layer: BinaryIO, limit: int, show: Callable[[str], None]) -> None:
    last: deque[str] = deque(maxlen=_LAST_LINES)
    command, argv = PACK
    options: ExecOptions = {"command": command, "cwd": "/", "max_output": limit}
    async with await machine.exec([*argv, str(limit)], **options) as process:
        copied = _copy(process.stdout, layer, show)
        await asyncio.gather(copied, _follow(process.stderr, last.append))
        try:
            status = await process.wait()
        except ExecError as error:
            hint = _TOO_LARGE if isinstance(error, OutputLimit) else ""
            message = f"cannot read the changes of the step: {error.message}"
            raise ImageError(message, hint=hint) from error
    if status:
        output = _ERRNO.sub(lambda number: os.strerror(int(number[1])), "\n".join(last))
        raise ImageError(
            f"cannot read the changes of the step: pack exited with status {status}",
            hint=_TOO_LARGE if "than the limit" in output else "",
            detail=output,
        )


async def _copy(stream: OutputStream, file: BinaryIO, show: Callable[[str], None]) -> None:
    done = 0
    while chunk := await stream.next_chunk():
        file.write(chunk)
        before, done = done, done + len(chunk)
        if done // _SHOWN_EVERY > before // _SHOWN_EVERY:
            show(f"{done >> 20} MiB of the step's changes are read")


async def _follow(stream: OutputStream, show: Callable[[str], None]) -> None:
    """Call `show` with each line of a command's output. A line that is too long is split."""
    rest = bytearray()
    while chunk := await stream.next_chunk():
        rest += chunk
        *lines, rest = rest.split(b"\n")
        for line in lines:
            show(_text(line))
        while len(rest) > _LINE_SIZE:
            show(_text(rest[:_LINE_SIZE]))
            del rest[:_LINE_SIZE]
    if rest:
        show(_text(rest))


def _text(line: bytearray) -> str:
    return sanitised(bytes(line).rstrip(b"\r")).expandtabs()
