"""Sends images and snapshots through Dask, from the client to the workers that lack them.

A worker asks for an image or snapshot by an event of its batch. The export is the archive of it
that the client sends. The client sends an export to several workers at the same time, piece by
piece, and sends each piece when all workers have taken the previous one. So client, scheduler and
workers hold a few pieces only.

The client regularly sends a message without data to each waiting worker. The worker then knows that
the client still runs, and the client knows that the worker answers.
"""

from __future__ import annotations

import asyncio
import errno
import io
import itertools
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from distributed import Client, Worker

from microvm.concurrency.threads import check_stopped, in_stoppable_thread, in_thread
from microvm.dask.reference import Reference
from microvm.errors import MicroVMError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_PIECE = 4 << 20  # maximum number of bytes of a piece of an export
_AHEAD = 2  # maximum number of received pieces that wait for the reader
_INTERVAL = 0.1  # seconds between two checks whether the thread must stop

ROUND = 16
"""Maximum number of workers that receive an export together. The scheduler holds one piece for
each.
"""

REMINDER = 10.0  # time between two messages without data to each waiting worker, in seconds
ANSWER_TIMEOUT = 15.0  # time that a worker has to answer a message without data, in seconds

PIECE_TIMEOUT = 60.0
"""Maximum time that a worker waits for the next piece from the client, or until its own disk has
taken a piece, in seconds."""

# Maximum time until a worker confirms a piece that was sent to it, in seconds. A slow disk or
# network delays the confirmation.
_SENT_TIMEOUT = 2 * PIECE_TIMEOUT

_ENDED = "the batch has ended"


class _Request(NamedTuple):
    """A worker's request for an image or snapshot: its key, and the address of the worker."""

    key: str
    worker: str


class Sender:
    """The sender of exported images and snapshots, in the client.

    :param batch: Name of the batch, which is the topic of its events.
    """

    def __init__(self, client: Client, batch: str, references: Iterable[Reference[Any]]) -> None:
        self._client = client
        self._operation = _operation(batch)
        self._references = {reference.key: reference for reference in references}
        self._asking: dict[_Request, None] = {}  # waiting requests, in the order of their arrival
        self._receiving: set[_Request] = set()
        self._telling: dict[_Request, asyncio.Task[bool]] = {}
        self._asked = asyncio.Event()

    def hear(self, event: object) -> None:
        """Queue the request for an image or snapshot that a worker has sent in an event."""
        match event:
            case {"wanted": str(key), "worker": str(address)} if key in self._references:
                self._asking[_Request(key, address)] = None
                self._asked.set()

    async def serve(self) -> None:
        """Send exports to the workers that ask for them, until this coroutine is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_all())
            while True:
                await asyncio.sleep(REMINDER)
                for request in (*self._asking, *self._receiving):
                    group.create_task(self._remind(request))

    async def _send_all(self) -> None:
        while True:
            self._asked.clear()
            if not self._asking:
                await self._asked.wait()
            key = next(iter(self._asking)).key
            same = [request for request in self._asking if request.key == key]
            self._receiving = set(same[:ROUND])
            for request in self._receiving:
                del self._asking[request]
            number = itertools.count()
            error = await self._send(key, number)
            await self._tell(number=next(number), last=True, error=error)
            self._receiving.clear()

    async def _send(self, key: str, number: Iterator[int]) -> str:
        """Send the image or snapshot with the digest `key` to the workers that wait for it.

        Return the text of an error, or "" if all pieces were sent.
        """
        loop = asyncio.get_running_loop()

        def send(piece: bytes) -> None:
            sent = self._tell(number=next(number), data=piece)
            _wait(asyncio.run_coroutine_threadsafe(sent, loop))
            if not self._receiving:
                raise BrokenPipeError(errno.EPIPE, "no worker receives it")

        def export() -> None:
            with io.BufferedWriter(_Outgoing(send), _PIECE) as out:
                self._references[key].write(cast(BinaryIO, out))

        try:
            await in_stoppable_thread(export)
        except (MicroVMError, OSError) as error:
            return str(error)
        except Exception as error:  # report every error to the waiting workers
            return repr(error)
        return ""

    async def _tell(self, **message: Any) -> None:
        """Send a message to all receiving workers, and forget those that do not accept it."""
        self._telling = {
            request: asyncio.create_task(self._tell_one(request, _SENT_TIMEOUT, **message))
            for request in self._receiving
        }
        taken = await asyncio.gather(*self._telling.values(), return_exceptions=True)
        told = zip(self._telling, taken, strict=True)
        self._receiving &= {request for request, took in told if took is True}

    async def _remind(self, request: _Request) -> None:
        """Send an empty message to a waiting worker. If it does not answer, drop its request."""
        if not await self._tell_one(request, ANSWER_TIMEOUT):
            self._asking.pop(request, None)
            self._receiving.discard(request)
            if request in self._telling:
                self._telling[request].cancel()

    async def _tell_one(self, request: _Request, timeout: float, **message: Any) -> bool:
        """Send a message to the worker of `request`. Return True if the worker has accepted it."""
        said = {"op": self._operation, "key": request.key, **message}
        return await ask(self._client, request.worker, said, timeout) is True


class Receiver:
    """The receiver of exported images and snapshots, in a worker."""

    def __init__(self, worker: Worker, batch: str) -> None:
        self._worker = worker
        self._batch = batch
        self._incoming: dict[str, _Incoming] = {}
        self._closed = False
        worker.handlers[_operation(batch)] = self._take

    def receive(self, reference: Reference[Any]) -> None:
        """Ask the client for an image or snapshot, and import it.

        This method blocks, so call it in a thread.
        """
        with _Incoming() as incoming:
            self._incoming[reference.key] = incoming
            # `close` aborts only the transfers that have begun before it is called. So if it was
            # called already, abort this transfer here.
            if self._closed:
                incoming.fail(MicroVMError(_ENDED))
            event = {"wanted": reference.key, "worker": self._worker.address}
            self._worker.loop.add_callback(self._worker.log_event, self._batch, event)
            try:
                reference.read(cast(BinaryIO, io.BufferedReader(incoming, _PIECE)))
            finally:
                del self._incoming[reference.key]

    def close(self) -> None:
        """Abort all transfers to this worker."""
        self._closed = True
        self._worker.handlers.pop(_operation(self._batch), None)
        for incoming in [*self._incoming.values()]:
            incoming.fail(MicroVMError(_ENDED))

    async def _take(self, key: str, **message: Any) -> bool:
        """Handle a message about image or snapshot `key`. Return False to refuse the message."""
        incoming = self._incoming.get(key)
        return incoming is not None and await in_thread(incoming.take, **message)


class _Incoming(io.RawIOBase):
    """An export that a worker receives: a file whose reader waits for the next piece."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | MicroVMError | None] = queue.Queue(_AHEAD)
        self._next = 0
        self._rest = memoryview(b"")
        self._ended = False

    def take(
        self, number: int | None = None, data: bytes = b"", last: bool = False, error: str = ""
    ) -> bool:
        """Pass a piece, the end or an error of the export to its reader; return False to refuse it.

        :param number: Number of the piece; None for a message without data.
        :param last: True for the end of the export, which has no data.
        """
        if number is None:
            # The message only shows that the client still runs. An empty piece tells this to a
            # waiting reader. If the queue is full, no reader waits, so drop the empty piece.
            with suppress(queue.Full):
                self._queue.put_nowait(b"")
            return True
        if number != self._next:
            return False
        self._next += 1
        piece = MicroVMError(f"the client cannot send it: {error}") if error else data
        try:
            self._queue.put(None if last and not error else piece, timeout=PIECE_TIMEOUT)
        except queue.Full:
            self.fail(MicroVMError(f"the export could not be written for {PIECE_TIMEOUT:.0f} s"))
            return False
        return True

    def fail(self, error: MicroVMError) -> None:
        """Abort the transfer: drop unread pieces, and let the reader's next call raise `error`."""
        while True:
            with suppress(queue.Empty):
                self._queue.get_nowait()
            with suppress(queue.Full):
                self._queue.put_nowait(error)
                return

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Wait for data of the export, and copy it into the buffer. Return the number of bytes."""
        while not self._rest and not self._ended:
            try:
                piece = self._queue.get(timeout=PIECE_TIMEOUT)
            except queue.Empty:
                raise MicroVMError(
                    f"the client has sent nothing for {PIECE_TIMEOUT:.0f} s"
                ) from None
            if isinstance(piece, MicroVMError):
                raise piece
            self._ended = piece is None
            self._rest = memoryview(piece or b"")
        into = memoryview(buffer).cast("B")
        size = min(len(into), len(self._rest))
        into[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


class _Outgoing(io.RawIOBase):
    """An export that the client sends: a file that passes each piece to a function."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Send at most `_PIECE` bytes of the data. Return the number of bytes that were sent."""
        piece = bytes(memoryview(data)[:_PIECE])
        self._send(piece)
        return len(piece)


async def ask(client: Client, worker: str, message: dict[str, Any], timeout: float) -> Any:
    """Send a message to a worker through the scheduler. Return the answer; None if none arrives."""
    assert client.scheduler is not None  # noqa: S101 - it is connected
    with suppress(Exception):  # every error means that the worker has not answered
        async with asyncio.timeout(timeout):
            answers: dict[str, object] = await client.scheduler.broadcast(
                msg=message, workers=[worker], on_error="ignore"
            )
            return answers.get(worker)
    return None


def _wait(call: Future[None]) -> None:
    """Wait in a thread for a call in the event loop. Cancel the call if the thread has to stop."""
    while not wait([call], _INTERVAL).done:
        try:
            check_stopped()
        except asyncio.CancelledError:
            call.cancel()
            raise
    call.result()


def _operation(batch: str) -> str:
    """Return the name by which a worker tells a batch's messages from other messages of Dask."""
    return f"microvm-{batch}"
