"""The transfer of what a batch starts from to workers that have not got it, through Dask.

A worker asks by an event of its batch. The client sends one export to some that ask for it at the
time, piece by piece, and each piece when all have taken the one before: neither end, nor the
scheduler between them, holds more than some pieces.

All who receive or wait hear a word now and then, so that they wait for as long as the client lives.
It is also how the client tells a worker that hangs from one whose disk or network is slow.
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

_PIECE = 4 << 20  # bytes
_AHEAD = 2  # pieces that have come, and wait to be read
_INTERVAL = 0.1  # the time between two looks whether it is still wanted, in seconds

ROUND = 16
"""How many workers are sent an export at once: the scheduler holds a piece for each of them."""

REMINDER = 10.0
"""The time between two words to each who receives or waits, in seconds."""

ANSWER_TIMEOUT = 15.0
"""How long a worker may take to answer a word, which waits for no disk, before it is left out."""

PIECE_TIMEOUT = 60.0
"""How long a worker waits for the client, and for its disk to take a piece, in seconds."""

# Of the answer to a piece, which such a disk or network holds up.
_SENT_TIMEOUT = 2 * PIECE_TIMEOUT

_ENDED = "the batch has ended"


class _Request(NamedTuple):
    """A request of a worker's: its address, and the key of what it wants."""

    key: str
    worker: str


class Sender:
    """The client's end.

    :param batch: the name of the batch, and the topic of its events.
    :param references: what its workers may ask for.
    """

    def __init__(self, client: Client, batch: str, references: Iterable[Reference[Any]]) -> None:
        self._client = client
        self._operation = _operation(batch)
        self._references = {reference.key: reference for reference in references}
        self._asking: dict[_Request, None] = {}  # those that wait, the first first
        self._receiving: set[_Request] = set()
        self._telling: dict[_Request, asyncio.Task[bool]] = {}
        self._asked = asyncio.Event()

    def hear(self, event: object) -> None:
        """Have a worker that asks by an event sent what it wants."""
        match event:
            case {"wanted": str(key), "worker": str(address)} if key in self._references:
                self._asking[_Request(key, address)] = None
                self._asked.set()

    async def serve(self) -> None:
        """Send what workers ask for, and remind all of them now and then; until it is cancelled."""
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
        """Send an export to those who receive; return why that failed, if it did."""
        loop = asyncio.get_running_loop()

        def send(piece: bytes) -> None:
            sent = self._tell(number=next(number), data=piece)
            _wait(asyncio.run_coroutine_threadsafe(sent, loop))
            if not self._receiving:
                raise BrokenPipeError(errno.EPIPE, "no worker takes it")

        def export() -> None:
            with io.BufferedWriter(_Outgoing(send), _PIECE) as out:
                self._references[key].write(cast(BinaryIO, out))

        try:
            await in_stoppable_thread(export)
        except (MicroVMError, OSError) as error:
            return str(error)
        except Exception as error:  # whatever it is, who waits is told
            return repr(error)
        return ""

    async def _tell(self, **message: Any) -> None:
        """Send a piece to those who receive; who does not take it receives no more."""
        self._telling = {
            request: asyncio.create_task(self._tell_one(request, _SENT_TIMEOUT, **message))
            for request in self._receiving
        }
        taken = await asyncio.gather(*self._telling.values(), return_exceptions=True)
        told = zip(self._telling, taken, strict=True)
        self._receiving &= {request for request, took in told if took is True}

    async def _remind(self, request: _Request) -> None:
        """Tell a worker that it is not forgotten; one that does not listen is."""
        if not await self._tell_one(request, ANSWER_TIMEOUT):
            self._asking.pop(request, None)
            self._receiving.discard(request)
            if request in self._telling:
                self._telling[request].cancel()

    async def _tell_one(self, request: _Request, timeout: float, **message: Any) -> bool:
        """Tell one worker something; return whether it wants to hear more."""
        assert self._client.scheduler is not None  # noqa: S101 - it is connected
        said = {"op": self._operation, "key": request.key, **message}
        answers: dict[str, object] = {}
        with suppress(Exception):  # whatever it is, the worker has not heard it
            async with asyncio.timeout(timeout):
                answers = await self._client.scheduler.broadcast(
                    msg=said, workers=[request.worker], on_error="ignore"
                )
        return answers.get(request.worker) is True


class Receiver:
    """A worker's end.

    :param batch: the name of the batch.
    """

    def __init__(self, worker: Worker, batch: str) -> None:
        self._worker = worker
        self._batch = batch
        self._incoming: dict[str, _Incoming] = {}
        self._closed = False
        worker.handlers[_operation(batch)] = self._take

    def receive(self, reference: Reference[Any]) -> None:
        """Ask the client for what a reference means, and read it; in a thread.

        :raises MicroVMError: it cannot be had, or it is not what it should be.
        """
        with _Incoming() as incoming:
            self._incoming[reference.key] = incoming
            if self._closed:  # while another worker had the lock of what this one is to receive
                incoming.fail(MicroVMError(_ENDED))
            event = {"wanted": reference.key, "worker": self._worker.address}
            self._worker.loop.add_callback(self._worker.log_event, self._batch, event)
            try:
                reference.read(cast(BinaryIO, io.BufferedReader(incoming, _PIECE)))
            finally:
                del self._incoming[reference.key]

    def close(self) -> None:
        """End what is being received."""
        self._closed = True
        self._worker.handlers.pop(_operation(self._batch), None)
        for incoming in [*self._incoming.values()]:
            incoming.fail(MicroVMError(_ENDED))

    async def _take(self, key: str, **message: Any) -> bool:
        """Take a message of the client's; tell whether its next one is wanted, too."""
        incoming = self._incoming.get(key)
        return incoming is not None and await in_thread(incoming.take, **message)


class _Incoming(io.RawIOBase):
    """An export that a worker is sent: a file, whose reader waits for what has not come yet."""

    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | MicroVMError | None] = queue.Queue(_AHEAD)
        self._next = 0
        self._rest = memoryview(b"")
        self._ended = False

    def take(
        self, number: int | None = None, data: bytes = b"", last: bool = False, error: str = ""
    ) -> bool:
        """Take a piece, when there is room for it; tell whether it was the one that was due.

        :param number: which it is; None for a word that says no more than that the client lives.
        :param last: whether it is the end, which has no data.
        """
        if number is None:
            with suppress(queue.Full):  # the reader has enough to do
                self._queue.put_nowait(b"")
            return True
        if number != self._next:
            return False
        self._next += 1
        piece = MicroVMError(f"the client cannot send it: {error}") if error else data
        try:
            self._queue.put(None if last and not error else piece, timeout=PIECE_TIMEOUT)
        except queue.Full:
            self.fail(MicroVMError(f"nothing of it could be written for {PIECE_TIMEOUT:.0f} s"))
            return False
        return True

    def fail(self, error: MicroVMError) -> None:
        """Have the reader get an error, in the place of what it has not read yet."""
        while True:
            with suppress(queue.Empty):
                self._queue.get_nowait()
            with suppress(queue.Full):
                self._queue.put_nowait(error)
                return

    def readable(self) -> bool:
        """Tell that it is for reading."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Read what has come; wait for it first.

        :raises MicroVMError: nothing comes any more.
        """
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
    """An export that the client sends: a file, of which each piece is given to a function."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send

    def writable(self) -> bool:
        """Tell that it is for writing."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Send a piece; what is more than that comes again."""
        piece = bytes(memoryview(data)[:_PIECE])
        self._send(piece)
        return len(piece)


def _wait(call: Future[None]) -> None:
    """Wait for a call in the loop, in a thread that may be told to stop."""
    while not wait([call], _INTERVAL).done:
        try:
            check_stopped()
        except asyncio.CancelledError:
            call.cancel()
            raise
    call.result()


def _operation(batch: str) -> str:
    """Return what messages of a batch are called among those of Dask's."""
    return f"microvm-{batch}"
