"""The messages between the host and `carry`, the guest's program that reads and writes files."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from errno import EBADMSG, EINVAL, EIO, ENOENT

from microvm.errors import (
    ExecTimeout,
    FileError,
    ImageError,
    MicroVMError,
    StartError,
    UsageError,
    errno_text,
)
from microvm.guest.executor import Executor
from microvm.guest.order import Order
from microvm.guest.process import Process
from microvm.guest.program import OTHER_SCHEMA, another_build, is_missing, program_options
from microvm.printable import printable
from microvm.wire import files
from microvm.wire.transfer import TRANSFER_GUEST, TRANSFER_HOST

MESSAGES_PER_TURN = 64
"""Number of messages of a transfer after which other tasks of the event loop run."""

Answer = files.Entry | files.Data | files.Whole | files.Done

# Small messages are collected until they have this number of bytes, and then sent together.
_BATCH = 1 << 16

# Maximum number of seconds for the guest to remove an incomplete file after a transfer has failed.
_CLEANUP_TIMEOUT = 3.0

_OPTIONS = program_options(files.PROGRAM)
_FAILED = "cannot transfer files"


@asynccontextmanager
async def exchange(
    guest: Executor, request: files.Request, timeout: float
) -> AsyncIterator[Exchange]:
    """Context manager that starts `carry`, the guest's program for files, and sends it a request.

    If `carry` still runs when the block ends, it is killed. Errors that the block raises are raised
    again after `carry` has exited.
    """
    try:
        frame = request.encode()
    except files.EncodeError as error:
        raise UsageError(f"cannot transfer this file: {error}") from None
    argv = [f"the transfer of {os.fsdecode(request.path)}", f"{files.DIGEST:016x}"]
    process = await guest.start(argv, _OPTIONS)
    try:
        # If the guest enforced the time limit, it would kill `carry` before `carry` can remove
        # incomplete files. So the host enforces it.
        async with asyncio.timeout(timeout) as deadline, process:
            yield Exchange(process, request, frame)
    except MicroVMError as error:
        process._record_error(error)
        raise
    except TimeoutError:
        if not deadline.expired():
            raise  # this error comes from the caller's iterable, which yields the data to send
        late = ExecTimeout(printable(argv[0]), timeout)
        process._record_error(late)
        raise late from None


class Exchange:
    """The host's side of a file transfer: messages to and from the guest's program `carry`."""

    def __init__(self, process: Process, request: files.Request, frame: bytes) -> None:
        """Begin a transfer with a request, whose `frame` is sent with the next message."""
        self.path = os.fsdecode(request.path)
        self.process = process
        self._order = Order()
        self._order.follow(request, TRANSFER_HOST)
        self._decoder = files.Decoder("guest")
        self._gathered = bytearray(frame)
        self._handled = 0

    async def send(self, message: files.Entry | files.Data | files.Whole) -> None:
        """Send a message about a file or folder. Small messages are sent together with later ones.

        :raises FileError: If the guest reports an error, which stops the transfer.
        """
        try:
            frame = message.encode()
        except files.EncodeError as error:
            raise UsageError(f"{printable(self.path)}: cannot send a file: {error}") from None
        self._order.follow(message, TRANSFER_HOST)
        await self._take_turn()
        if self._gathered and len(frame) > _BATCH:
            await self.flush()
        self._gathered += frame
        if len(self._gathered) >= _BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Send the messages that `send` has collected."""
        assert self.process.stdin is not None  # noqa: S101 - for the type checker
        data, self._gathered = bytes(self._gathered), bytearray()
        try:
            self.process.stdin.write(data)
            await self.process.stdin.drain()
        except BrokenPipeError:
            await self.receive()
            raise self._misplaced() from None

    async def receive(self) -> Answer:
        """Send the messages that `send` has collected, and return the guest's next message.

        :raises FileError: If the guest reports a failure, sends an invalid message, or `carry`
            exits.
        :raises ImageError: If the guest has no `carry`, or one with another protocol.
        """
        if self._gathered:
            await self.flush()
        await self._take_turn()
        try:
            while (message := self._decoder.next_message()) is None:
                chunk = await self.process.stdout.next_chunk()
                if not chunk:
                    raise await self._ended_early()
                self._decoder.receive_data(bytes(chunk))
        except files.DecodeError as error:
            raise self._invalid(f"the guest sent an invalid answer: {error}") from None
        try:
            self._order.follow(message, TRANSFER_GUEST)
        except ValueError:
            raise self._misplaced() from None
        if isinstance(message, files.Failure):
            raise self._failed(message)
        assert not isinstance(message, files.Request)  # noqa: S101 - the decoder refuses it
        return message

    async def _take_turn(self) -> None:
        """Let other tasks of the event loop run after each 64 messages.

        Sending and receiving often complete without waiting, so other tasks would not run by
        themselves.
        """
        self._handled += 1
        if self._handled % MESSAGES_PER_TURN == 0:
            await asyncio.sleep(0)

    async def answers(self) -> AsyncIterator[files.Entry | files.Data | files.Whole]:
        """Yield the guest's messages before `done`, and then wait until `carry` exits.

        For errors see `receive`.
        """
        while not isinstance(message := await self.receive(), files.Done):
            yield message
        await self.end()

    async def end(self) -> None:
        """Wait until `carry` exits, and check that it sends no further message."""
        if self._decoder.next_message() is not None or await self.process.stdout.next_chunk():
            raise self._misplaced()
        if await self.process.wait() != 0:
            raise await self._ended_early()

    def _misplaced(self) -> FileError:
        """Return the error for an answer that is well-formed, but does not fit the request."""
        return self._invalid("the guest sent an answer that does not fit the request")

    def _invalid(self, reason: str) -> FileError:
        return FileError(EBADMSG, self.path, f"{self.path}: {reason}")

    async def _ended_early(self) -> FileError | ImageError:
        try:
            status = await self.process.wait()
        except StartError as error:
            if is_missing(error):
                return another_build(_FAILED)
            return FileError(error.errno, self.path, error.message)
        if status == OTHER_SCHEMA:
            return another_build(_FAILED)
        how = f"exited with status {status}" if status >= 0 else f"was killed by signal {-status}"
        return FileError(EIO, self.path, f"{self.path}: `carry` in the guest {how}")

    def _failed(self, failure: files.Failure) -> FileError:
        path = os.fsdecode(failure.path)
        if failure.subject is files.Subject.PATH:
            return FileError.of(failure.error_number, path)
        kind = "user" if failure.subject is files.Subject.USER else "owner"
        if failure.error_number == ENOENT:
            message = f"{self.path}: the guest has no such {kind}: {path}"
        else:
            reason = errno_text(failure.error_number)
            message = f"{self.path}: cannot use {path} as its {kind}: {reason}"
        return FileError(EINVAL, self.path, message)


async def give_up(process: Process, timeout: float = _CLEANUP_TIMEOUT) -> None:
    """Cancel the transfer that `carry` runs as `process`. It then removes an incomplete file."""
    assert process.stdin is not None  # noqa: S101 - for the type checker
    process.stdin.close()
    with suppress(MicroVMError, TimeoutError):
        async with asyncio.timeout(timeout):
            while await process.stdout.next_chunk():
                pass
            await process.wait()
