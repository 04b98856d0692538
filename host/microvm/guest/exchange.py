"""An exchange is one run of the guest's program `carry`, and what both sides say in it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from errno import EAGAIN, EBADMSG, EINVAL, EIO, ENOENT, ENOMEM
from subprocess import PIPE
from typing import TypeVar

from microvm.errors import (
    BUILD_AGAIN,
    ExecTimeout,
    FileError,
    ImageError,
    MicroVMError,
    StartError,
    UsageError,
    errno_text,
)
from microvm.guest.executor import Executor
from microvm.guest.process import Process
from microvm.printable import printable
from microvm.wire import files

MESSAGES_PER_TURN = 64
"""The messages of a transfer that are handled before others in the event loop have their turn."""

M = TypeVar("M", files.Entry, files.Data, files.Done)

Answer = files.Entry | files.Data | files.Whole | files.Done

# What small messages are gathered to, before they are sent.
_GATHERED = 1 << 16

# Of a guest that is to remove what is half written, in seconds.
_CLEANUP_TIMEOUT = 3.0

_OTHER_SCHEMA = 2  # the program's exit status, guest/carry.c
_SCARCE = (EAGAIN, ENOMEM)  # of which a guest that fits may have too little


@asynccontextmanager
async def exchange(
    guest: Executor, request: files.Request, timeout: float
) -> AsyncIterator[Exchange]:
    """Say what is to be done, and have the conversation for as long as the block lasts.

    What it was cut short by is raised when the program has ended; that is killed unless it does so.

    :param timeout: for all of it, in seconds.
    :raises Busy: a command is in flight.
    :raises UsageError: the request cannot be sent.
    :raises MachineError: the guest is lost.
    """
    path = os.fsdecode(request.path)
    try:
        frame = request.encode()
    except files.EncodeError as error:
        raise UsageError(f"this file cannot be asked for: {error}") from None
    argv = [f"the transfer of {path}", f"{files.DIGEST:016x}"]
    process = await guest.start(argv, command=files.PROGRAM, user=0, cwd="/", stdin=PIPE)
    try:
        # Not the guest's own deadline, which would end the program before it can clear up.
        async with asyncio.timeout(timeout) as deadline, process:
            talk = Exchange(process, path)
            talk.gather(frame)
            yield talk
    except MicroVMError as error:
        process._record_error(error)
        raise
    except TimeoutError:
        if not deadline.expired():
            raise  # the iterable that yields the data has raised it
        late = ExecTimeout(printable(argv[0]), timeout)
        process._record_error(late)
        raise late from None


class Exchange:
    """The host's end of the conversation, after its request.

    :ivar path: what it is about, in the guest.
    """

    def __init__(self, process: Process, path: str) -> None:
        self.path = path
        self._process = process
        self._decoder = files.Decoder("guest")
        self._gathered = bytearray()
        self._handled = 0

    def gather(self, frame: bytes) -> None:
        """Have a small frame sent with what follows it."""
        self._gathered += frame

    async def send(self, message: files.Entry | files.Data | files.Whole) -> None:
        """Send a message of a tree, perhaps with those that follow it.

        :raises FileError: the guest takes no more; says why.
        :raises UsageError: it cannot be sent.
        """
        try:
            frame = message.encode()
        except files.EncodeError as error:
            raise UsageError(f"{printable(self.path)}: this cannot be sent: {error}") from None
        await self._take_turn()
        if self._gathered and len(frame) > _GATHERED:
            await self.flush()
        self._gathered += frame
        if len(self._gathered) >= _GATHERED:
            await self.flush()

    async def flush(self) -> None:
        """Send what has been gathered.

        :raises FileError: the guest takes no more; says why.
        """
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        data, self._gathered = bytes(self._gathered), bytearray()
        try:
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except BrokenPipeError:
            await self.receive()
            raise self.misplaced() from None

    async def receive(self) -> Answer:
        """Return the guest's next message.

        :raises FileError: it is a failure, is malformed, or never comes.
        :raises ImageError: the guest has another build of the program, or none.
        :raises ExecTimeout: it took too long.
        :raises MachineError: the guest is lost.
        """
        if self._gathered:
            await self.flush()
        await self._take_turn()
        try:
            while (message := self._decoder.next_message()) is None:
                chunk = await self._process.stdout.next_chunk()
                if not chunk:
                    raise await self._ended_early()
                self._decoder.receive_data(bytes(chunk))
        except files.DecodeError as error:
            raise self._wrong(f"the guest sends what is no answer: {error}") from None
        if isinstance(message, files.Failure):
            raise self._failed(message)
        assert not isinstance(message, files.Request)  # noqa: S101 - which a guest cannot send
        return message

    async def _take_turn(self) -> None:
        """Let others have theirs now and then: what has come, or has room, is not waited for."""
        self._handled += 1
        if self._handled % MESSAGES_PER_TURN == 0:
            await asyncio.sleep(0)

    async def expect(self, kind: type[M]) -> M:
        """Return the next message, which must be of this kind; else as `receive`."""
        message = await self.receive()
        if not isinstance(message, kind):
            raise self.misplaced()
        return message

    async def expect_or(self, kind: type[M], end: type[files.Done | files.Whole]) -> M | None:
        """Return the next message of this kind, or None for the one that ends them."""
        message = await self.receive()
        if isinstance(message, end):
            return None
        if not isinstance(message, kind):
            raise self.misplaced()
        return message

    async def end(self) -> None:
        """Wait for the program's end, behind which nothing may follow.

        :raises FileError: it goes on, or ends otherwise.
        """
        if self._decoder.next_message() is not None or await self._process.stdout.next_chunk():
            raise self.misplaced()
        if await self._process.wait() != 0:
            raise await self._ended_early()

    async def give_up(self) -> None:
        """Give the guest a moment to remove what is half written, since the rest will not come."""
        await give_up(self._process)

    def misplaced(self) -> FileError:
        """Return the error for an answer that makes no sense here."""
        return self._wrong("the guest sends what is no answer to that")

    def _wrong(self, what: str) -> FileError:
        return FileError(EBADMSG, self.path, f"{self.path}: {what}")

    async def _ended_early(self) -> FileError | ImageError:
        try:
            status = await self._process.wait()
        except StartError as error:
            if error.stage == "exec" and error.errno not in _SCARCE:
                return _of_another_build()
            return FileError(error.errno, self.path, error.message)
        if status == _OTHER_SCHEMA:
            return _of_another_build()
        how = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
        return FileError(EIO, self.path, f"{self.path}: what carries files in the guest {how}")

    def _failed(self, failure: files.Failure) -> FileError:
        path = os.fsdecode(failure.path)
        if failure.subject is files.Subject.PATH:
            return FileError.of(failure.error_number, path)
        what = "user" if failure.subject is files.Subject.USER else "owner"
        if failure.error_number == ENOENT:
            message = f"{self.path}: the guest has no such {what}: {path}"
        else:
            reason = errno_text(failure.error_number)
            message = f"{self.path}: {path} cannot be its {what}: {reason}"
        return FileError(EINVAL, self.path, message)


async def give_up(process: Process, timeout: float = _CLEANUP_TIMEOUT) -> None:
    """Have a `carry` end by itself, which hears no more; see `Exchange.give_up`.

    :param timeout: for how long, in seconds.
    """
    assert process.stdin is not None  # noqa: S101 - it was asked for
    process.stdin.close()
    with suppress(MicroVMError, TimeoutError):
        async with asyncio.timeout(timeout):
            while await process.stdout.next_chunk():
                pass
            await process.wait()


def _of_another_build() -> ImageError:
    return ImageError(
        "the image was built by an older microvm, or a newer one, and does not carry files for this"
        " one",
        hint=BUILD_AGAIN,
    )
