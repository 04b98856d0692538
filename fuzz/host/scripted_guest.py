"""A guest that does what a script says, and breaks the protocol where the script has it so."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
from collections.abc import Callable
from contextlib import suppress
from signal import SIGKILL, SIGTERM
from typing import Any

from tests.support.peer import Peer

from microvm.wire import codec
from microvm.wire.codec import Stream

from ..frames import HEADER
from . import script as acts

HEAR_TIMEOUT = 20.0
"""The seconds that a guest waits for what it wants to hear; then it goes on."""

FOREVER = 1e6

INPUT_END = "end of input"
INPUT_WINDOW = 1 << 18
"""Bytes of input that an honest guest takes ahead."""

_APART = 200
"""The number of pieces that are written apart; what follows is written at once."""

_BUFFER = 1 << 17


class _MachineEnded(Exception):
    """The machine has ended, and so has the script."""


class ScriptedGuest:
    """The guest's end of the port, and of the console.

    :param reset: called when the machine ends.
    """

    def __init__(
        self,
        port: socket.socket,
        console: socket.socket,
        script: acts.Script,
        reset: Callable[[], None],
    ) -> None:
        self._peer = Peer(port)
        self._console = console
        self._script = script
        self._reset = reset
        self._loop = asyncio.get_running_loop()
        self._true = {
            "version": codec.VERSION,
            "digest": codec.DIGEST,
            "max_body": codec.MAX_BODY,
            "nonce": 0,
            "id": 1,
            "token": 0,
        }
        self._heard: list[str] = []
        self._news = asyncio.Event()
        self._buffer = b""
        # An answer must not come in the middle of a frame that is written in pieces.
        self._lock = asyncio.Lock()
        self._pieces = 0
        self._pongs = True
        self._takes_input = False
        self._serving = False
        self._signal = 0
        self._reading: asyncio.Task[None]

    async def play(self) -> None:
        """Do what the script says, then fall silent; until cancelled."""
        self._reading = asyncio.create_task(self._read())
        try:
            for act in self._script.acts:
                await self._do(act)
            await self._flush()
            self._pongs = False
            await asyncio.Event().wait()
        except (_MachineEnded, ConnectionError):
            pass
        finally:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _do(self, act: acts.Act) -> None:
        if not isinstance(act, acts.Say | acts.Raw | acts.Print | acts.Answer):
            await self._flush()
        match act:
            case acts.Say():
                await self._write(self._frame(act) * act.times)
            case acts.Raw(data=data):
                await self._write(data)
            case acts.Flood(stream=stream, size=size, times=times):
                output = codec.ExecOutput(self._true["id"], Stream(stream), b"f" * size).encode()
                for _ in range(times):
                    await self._write(output)
            case acts.SlowFrame(every=every):
                size = codec.ExecOutput.MAX_BODY
                data = HEADER.pack(size, codec.ExecOutput.TYPE, 0, self._true["id"])
                async with self._lock:
                    for byte in (data + b"\1" * (size - 1))[:1000]:
                        await self._send(bytes([byte]))
                        await asyncio.sleep(every)
            case acts.Serve():
                await self._serve(act)
            case acts.Hear(kind=kind):
                await self._hear(kind)
            case acts.Pause(seconds=seconds):
                await asyncio.sleep(seconds)
            case acts.Answer(pongs=pongs):
                self._pongs = pongs
            case acts.StopReading():
                self._reading.cancel()
            case acts.Print(data=data):
                await self._loop.sock_sendall(self._console, data)
            case acts.Close(half=half):
                self._peer.port.shutdown(socket.SHUT_WR if half else socket.SHUT_RDWR)
            case acts.Reset():
                # Only what has arrived on the console can tell why.
                await asyncio.sleep(0.001)
                self._peer.port.shutdown(socket.SHUT_RDWR)
                self._console.shutdown(socket.SHUT_RDWR)
                await asyncio.sleep(0.001)
                self._reset()
                raise _MachineEnded

    async def _serve(self, act: acts.Serve) -> None:
        if not await self._hear("ExecRequest"):
            return
        id_ = self._true["id"]
        self._serving, self._signal = True, 0
        if act.failed:
            end: codec.Message = codec.ExecFailed(id_, codec.Stage.LOOKUP, 2)
        elif await self._work(act, id_):
            end = codec.ExecResponse(id_, codec.Ending.EXITED, act.status)
        else:
            end = codec.ExecResponse(id_, codec.Ending.SIGNALLED, self._signal or SIGKILL)
        self._serving = False
        await self._say(end)

    async def _work(self, act: acts.Serve, id_: int) -> bool:
        """Write and read as a command does; False when that was ended early."""
        if self._takes_input:
            await self._say(codec.ExecStdinCredit(id_, INPUT_WINDOW))
        for stream, amount in ((Stream.STDOUT, act.stdout), (Stream.STDERR, act.stderr)):
            left = amount
            while left:
                while not self._peer.credit[stream]:
                    if not await self._hear("ExecCredit", FOREVER):
                        return False
                size = min(left, act.size, self._peer.credit[stream], 65536)
                self._peer.credit[stream] -= size
                data = bytes([33 + left % 90]) * size
                left -= size
                await self._say(codec.ExecOutput(id_, stream, data))
        if self._takes_input and not await self._hear(INPUT_END):
            return False
        await asyncio.sleep(0.001)  # long enough for a signal
        return not self._signal

    def _frame(self, act: acts.Say) -> bytes:
        truth: dict[str, Any] = {name: self._true[name] for name in act.true}
        frame = dataclasses.replace(act.message, **truth).encode()
        if not act.bent:
            return frame
        length, type_, flags, id_ = HEADER.unpack_from(frame)
        said = {"length": length, "type": type_, "flags": flags, "id": id_} | act.bent
        header = HEADER.pack(said["length"], said["type"], said["flags"], said["id"])
        body = bytearray(frame[codec.HEADER_SIZE :])
        if "flip" in said and body:
            body[said["flip"] % len(body)] ^= 0xFF
        return header + body

    async def _say(self, message: codec.Message) -> None:
        self._buffer += message.encode()
        await self._flush()

    async def _write(self, data: bytes) -> None:
        self._buffer += data
        if self._script.cuts or len(self._buffer) > _BUFFER:
            await self._flush()

    async def _flush(self) -> None:
        data, self._buffer = self._buffer, b""
        cuts = self._script.cuts
        async with self._lock:
            while data:
                size = len(data)
                if cuts and self._pieces < _APART:
                    size = cuts[self._pieces % len(cuts)]
                    self._pieces += 1
                await self._send(data[:size])
                data = data[size:]

    async def _send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._peer.port, data)
        # The host's turn, and then ours again: else two pieces would be read as one.
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _hear(self, kind: str, timeout: float = HEAR_TIMEOUT) -> bool:
        """Wait for what the host may have said already; whether it has."""
        try:
            async with asyncio.timeout(timeout):
                while kind not in self._heard:
                    if self._serving and self._signal:
                        return False
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        del self._heard[: self._heard.index(kind) + 1]
        return True

    async def _read(self) -> None:
        with suppress(EOFError, ConnectionError):
            while True:
                await self._take(await self._peer.hear())
                self._news.set()

    async def _take(self, message: codec.Message) -> None:
        self._heard.append(type(message).__name__)
        match message:
            case codec.Hello(nonce=nonce):
                self._true["nonce"] = nonce
            case codec.ExecRequest(id=id_, stdin_from=kind):
                self._true["id"] = id_
                self._takes_input = kind is codec.StdinKind.HOST
            case codec.ExecStdin(data=data):
                if not data:
                    self._heard.append(INPUT_END)
                elif self._takes_input and self._serving:
                    await self._say(codec.ExecStdinCredit(self._true["id"], len(data)))
            case codec.ExecKill() | codec.ExecTerminate() | codec.ExecSignal():
                if self._serving:
                    self._signal = SIGKILL if isinstance(message, codec.ExecKill) else SIGTERM
            case codec.Ping(token=token):
                self._true["token"] = token
                if self._pongs:
                    await self._say(codec.Pong(token))
            case codec.StatusRequest():
                if self._pongs:
                    await self._say(codec.Status(*[1] * len(dataclasses.fields(codec.Status))))
