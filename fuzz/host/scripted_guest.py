"""A guest that performs the acts of a script, which may break the protocol."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, replace
from signal import SIGKILL, SIGTERM
from typing import Any

from tests.support.peer import PIECE, Peer

from microvm.guest.timeouts import TIMEOUTS
from microvm.wire import codec
from microvm.wire.codec import Ending, Stream

from . import acts

HEAR_TIMEOUT = 20.0
"""Maximum number of seconds that a guest waits for a message before it continues."""

INPUT_WINDOW = 1 << 18  # number of bytes of input that an honest guest accepts in advance

_APART = 200
"""Maximum number of pieces that are written one by one. The rest is written at once."""

_OURS = {"version": codec.VERSION, "digest": codec.DIGEST, "max_body": codec.MAX_BODY}

_DEATHS = {"ExecKill": SIGKILL, "ExecTerminate": SIGTERM, "ExecSignal": SIGTERM}
"""The messages that end a command of an honest guest, and the signals that it then reports."""


class ScriptedGuest(Peer):
    """A guest with its ends of the port and of the console.

    :param losses: List to which it appends the times from which a host must know that it is lost.
    :param reset: Function that is called when the machine resets.
    """

    def __init__(
        self,
        port: socket.socket,
        console: socket.socket,
        script: acts.Script,
        losses: list[float],
        reset: Callable[[], None],
    ) -> None:
        super().__init__(port)
        self.id = 1
        self._console = console
        self._script = script
        self._losses = losses
        self._reset = reset
        self._loop = asyncio.get_running_loop()
        self._token = 0
        self._heard: asyncio.Queue[codec.Message] = asyncio.Queue()
        # Messages of the host that the guest has not handled yet, by the id of their command.
        self._of_command: dict[int, asyncio.Queue[codec.Message]] = {}
        self._sizes = itertools.islice(itertools.cycle(script.cuts), _APART)
        # An answer must not come in the middle of a frame that is written in pieces.
        self._lock = asyncio.Lock()
        self._answers = True
        self._reading: asyncio.Task[None]

    async def perform(self) -> None:
        """Perform the script, and then send nothing more until cancelled."""
        self._reading = asyncio.create_task(self._read())
        try:
            for act in self._script.acts:
                await self._do(act)
            self._answers = False
            await asyncio.Event().wait()
        except ConnectionError:
            pass
        finally:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _do(self, act: acts.Act) -> None:
        match act:
            case acts.Say():
                await self.say(*[self._true(act)] * act.times)
            case acts.Serve():
                await self._serve(act)
            case acts.Together(serves=serves):
                services = map(self._serve, serves)
                for error in await asyncio.gather(*services, return_exceptions=True):
                    if error is not None:
                        raise error
            case acts.Hear(kind=kind):
                await self._hear(kind)
            case acts.Pause(seconds=seconds):
                await asyncio.sleep(seconds)
            case acts.StopReading():
                self._reading.cancel()
            case acts.Print(data=data):
                await self._loop.sock_sendall(self._console, data)
            case acts.Close(half=half):
                self.port.shutdown(socket.SHUT_WR if half else socket.SHUT_RDWR)
                self._losses.append(self._loop.time() + TIMEOUTS.loss_grace)
            case acts.Reset():
                # Wait, because the host only knows the reason if the console output has arrived.
                await asyncio.sleep(0.001)
                self.port.shutdown(socket.SHUT_RDWR)
                self._console.shutdown(socket.SHUT_RDWR)
                await asyncio.sleep(0.001)
                self._losses.append(self._loop.time())
                self._reset()

    def _true(self, act: acts.Say) -> codec.Message | bytes:
        if isinstance(act.message, bytes):
            return act.message
        truth = _OURS | {"nonce": self.nonce, "id": self.id, "token": self._token}
        facts: dict[str, Any] = {name: truth[name] for name in act.true}
        return replace(act.message, **facts)

    async def _serve(self, act: acts.Serve) -> None:
        if isinstance(request := await self._hear("ExecRequest"), codec.ExecRequest):
            signal = await self._work(act, request)
            ending = Ending.SIGNALLED if signal else Ending.EXITED
            await self.say(codec.ExecResponse(request.id, ending, signal or act.status))

    async def _work(self, act: acts.Serve, request: codec.ExecRequest) -> int:
        """Send and receive as a command does. Return the signal that ends it early, or 0."""
        id_, heard = request.id, self._of_command[request.id]
        credit = self.credit_of(id_)
        if takes_input := request.stdin_from is codec.StdinKind.HOST:
            await self.say(codec.ExecStdinCredit(id_, INPUT_WINDOW))
        left = {Stream.STDOUT: act.stdout, Stream.STDERR: act.stderr}
        while True:
            for stream, size in left.items():
                while size := min(left[stream], act.size, credit[stream], PIECE):
                    credit[stream] -= size
                    data = bytes([33 + left[stream] % 90]) * size
                    left[stream] -= size
                    await self.say(codec.ExecOutput(id_, stream, data))
            done = not takes_input and not any(left.values())
            timeout = 0.001 if done else HEAR_TIMEOUT  # a signal may still arrive
            kinds = ("ExecCredit", "ExecStdin", *_DEATHS)
            match await self._hear(*kinds, timeout=timeout, among=heard):
                case None:
                    return 0 if done else SIGKILL
                case codec.ExecStdin(data=fed):
                    takes_input = bool(fed)
                    if fed:
                        await self.say(codec.ExecStdinCredit(id_, len(fed)))
                case message if (name := type(message).__name__) in _DEATHS:
                    return _DEATHS[name]

    async def say(self, *messages: codec.Message | bytes) -> None:
        """Send messages in pieces of the sizes that the script defines."""
        data = b"".join(m if isinstance(m, bytes) else m.encode() for m in messages)
        async with self._lock:
            while data:
                size = next(self._sizes, None)
                await super().say(data[:size])
                if size is None:
                    return
                data = data[size:]
                # Let the host read this piece alone, before the next one is written.
                await asyncio.sleep(0)
                await asyncio.sleep(0)

    async def _hear(
        self,
        *kinds: str,
        timeout: float = HEAR_TIMEOUT,
        among: asyncio.Queue[codec.Message] | None = None,
    ) -> codec.Message | None:
        """Return the next message of one of these kinds; None if none arrives in time.

        :param among: Queue of messages to search; by default, the queue of all messages of the
            host.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while type(message := await (among or self._heard).get()).__name__ not in kinds:
                    pass
                return message
        return None

    async def _read(self) -> None:
        with suppress(EOFError, ConnectionError):
            while True:
                message = await self.hear()
                if id_ := getattr(message, "id", 0):
                    self._of_command.setdefault(id_, asyncio.Queue()).put_nowait(message)
                self._heard.put_nowait(message)
                match message:
                    case codec.Ping(token=token):
                        self._token = token
                        if self._answers:
                            await self.say(codec.Pong(token))
                    case codec.StatusRequest() if self._answers:
                        await self.say(codec.Status(*[1] * len(fields(codec.Status))))
