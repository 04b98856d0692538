"""A second implementation of the host, written from `protocol/SPEC.md` alone.

It shares no code with the library, so a change of one of them without the document makes tests
fail. It is blocking, and as strict as the document allows.
"""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.document import Document
from tests.support.document.types import Malformed

SPEC = Document((Path(__file__).parents[1] / "protocol/SPEC.md").read_text())
VERSION = SPEC.version
DIGEST = SPEC.digests[VERSION]
MAGIC = b"microvm\n"
LONGEST_FROM_HOST, LONGEST_FROM_GUEST = SPEC.longest["host"], SPEC.longest["guest"]
HEADER = struct.Struct("<IHHI")  # body_length, type, flags, id


class Broken(Exception):
    """Error of a guest that breaks a rule of the document. The machine must be ended."""


@dataclass
class SpecFrame:
    """A message with its id and its fields."""

    name: str
    id: int = 0
    fields: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]


def encode(name: str, id_: int = 0, *, speaking: int = VERSION, **fields: Any) -> bytes:
    """Encode a frame in the agreed version."""
    return SPEC.encode(name, id_, fields, speaking)


def decode(data: bytes, sender: str, speaking: int = VERSION) -> tuple[SpecFrame, int] | None:
    """Return the first frame of these bytes, and its length; None if it is incomplete.

    :param speaking: agreed version.
    :raises Malformed: the frame is invalid.
    """
    decoded = SPEC.decode(data, sender, speaking)
    if decoded is None:
        return None
    name, id_, fields, size = decoded
    return SpecFrame(name, id_, fields), size


# The host


@dataclass
class SpecOutcome:
    """The result of a command: its output, and how it ended."""

    stdout: bytes
    stderr: bytes
    end: SpecFrame

    @property
    def exit_code(self) -> int:
        assert (self.end.name, self.end["ending"]) == ("exec_response", 0), self.end
        return int(self.end["status"])

    @property
    def signal(self) -> int:
        assert (self.end.name, self.end["ending"]) == ("exec_response", 1), self.end
        return int(self.end["status"])

    @property
    def failure(self) -> tuple[int, int]:
        """The stage and the errno of a command that was not started."""
        assert self.end.name == "exec_failed", self.end
        return self.end["stage"], self.end["error_number"]


@dataclass
class SpecCommand:
    """A command that the host has requested in this session.

    :ivar window: credit for each output stream, renewed as output is read; 0 for no credit.
    :ivar stdin: rest of the input, which is sent as credit arrives, and then end of file; None if
        nothing must be sent, or if a test sends the input with `type`.
    """

    beside: bool
    window: int
    stdin: bytes | None
    takes_stdin: bool
    credit: dict[int, int]
    is_running: bool = True
    stdin_credit: int = 0
    output: dict[int, bytes] = field(default_factory=lambda: {1: b"", 2: b""})


class SpecHost:
    """The host side of a stream, which is a blocking socket.

    :ivar id: id of the command that the methods are about: the last one, unless a test sets
        another.
    """

    def __init__(self, stream: socket.socket, *, deadline: float = 20.0) -> None:
        """Create it for a stream, on which `greet` comes first.

        :param deadline: maximum number of seconds to wait for the guest.
        """
        self.stream = stream
        self.deadline = deadline
        self.state = "new"
        self.version = VERSION
        self.id = 0
        self.data = bytearray()  # bytes of an incomplete frame
        self.asked: list[int | None] = []  # tokens of pings; None for the counters
        self.commands: dict[int, SpecCommand] = {}

    # Bytes

    def wait(self, *, to_write: bool, until: float) -> bool:
        """Read the available bytes, and return True if something can be written."""
        left = until - time.monotonic()
        outs = [self.stream] if to_write else []
        readable, writable, _ = select.select([self.stream], outs, [], max(left, 0))
        if not readable and not writable:
            raise Broken("the guest does not answer")
        if readable:
            data = self.stream.recv(1 << 18)
            if not data:
                raise Broken("the stream has ended")
            self.data += data
        return bool(writable)

    def send(self, data: bytes) -> None:
        """Write bytes.

        Read meanwhile, because a guest stops reading if its answers are not read.
        """
        rest = memoryview(data)
        until = time.monotonic() + self.deadline
        while rest:
            if self.wait(to_write=True, until=until):
                try:
                    rest = rest[self.stream.send(rest, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    continue

    def receive(self) -> SpecFrame:
        """Return the next frame, which the state must allow. It may change the state."""
        until = time.monotonic() + self.deadline
        while True:
            try:
                decoded = decode(bytes(self.data[:LONGEST_FROM_GUEST]), "guest", self.version)
            except Malformed as error:
                self.state = "failed"
                raise Broken(str(error)) from None
            if decoded is not None:
                break
            self.wait(to_write=False, until=until)
        frame, size = decoded
        del self.data[:size]
        try:
            self._step(frame)
        except Broken:
            self.state = "failed"
            raise
        return frame

    # Handshake and recovery

    def greet(self, *, fill: bool = False, resume: bool = True) -> SpecFrame:
        """Start a new session on the stream, and send the time to the guest.

        :param fill: True if the previous host may have stopped anywhere in the stream.
        :param resume: True if the guest continues at once.
        """
        nonce = secrets.randbits(64)
        self.state, self.asked = "greeting", []
        fill_up = b"\xff" * (LONGEST_FROM_HOST if fill else 0)
        hello = encode(
            "hello", version=VERSION, digest=DIGEST, max_body=LONGEST_FROM_GUEST, nonce=nonce
        )
        self.send(fill_up + hello)
        ready = self.find_ready(nonce)
        self.begin(min(VERSION, ready["version"]))
        if ready["version"] <= VERSION and ready["digest"] != SPEC.digests.get(ready["version"]):
            raise Broken(
                f"the guest speaks version {ready['version']} of {ready['digest']:#x},"
                f" and we speak version {VERSION} of {DIGEST:#x}"
            )
        if resume:
            self.resume()
        return ready

    def begin(self, version: int = VERSION) -> None:
        """Reset this object for a new session, after `ready` has been received."""
        self.state, self.version, self.id, self.commands = "open", version, 0, {}

    def resume(self) -> None:
        """Send the time and random numbers to the guest."""
        self.send(encode("resume", realtime_ns=time.time_ns(), entropy=secrets.token_bytes(64)))

    def find_ready(self, nonce: int) -> SpecFrame:
        """Skip all bytes up to the `ready` message of our hello, which may begin at any byte."""
        start = HEADER.pack(32, 2, 0, 0) + MAGIC
        until = time.monotonic() + self.deadline
        while True:
            at = self.data.find(start)
            if at < 0:
                del self.data[: max(0, len(self.data) - len(start) + 1)]
            elif len(self.data) - at >= 44:
                decoded = decode(bytes(self.data[at : at + 44]), "guest")
                assert decoded is not None
                if decoded[0]["nonce"] == nonce:
                    del self.data[: at + 44]
                    return decoded[0]
                del self.data[: at + 1]
                continue
            self.wait(to_write=False, until=until)

    # States

    def _step(self, frame: SpecFrame) -> None:
        """Check a frame against the state, and change the state."""
        if self.state == "ended":
            raise Broken("the guest goes on after its goodbye")
        match frame.name:
            case "pong":
                self._expect(frame["token"] in self.asked, frame)
                self.asked.remove(frame["token"])
            case "status":
                self._expect(None in self.asked, frame)
                self.asked.remove(None)
            case "goodbye":
                self.state = "ended"
            case "exec_output":
                size, credit = len(frame["data"]), self._running(frame).credit
                self._expect(0 < size <= credit[frame["stream"]], frame)
                credit[frame["stream"]] -= size
            case "exec_stdin_credit":
                command = self._running(frame)
                self._expect(command.takes_stdin and frame["amount"] > 0, frame)
                command.stdin_credit += frame["amount"]
            case "exec_stdin_closed":
                command = self._running(frame)
                self._expect(command.takes_stdin, frame)
                command.takes_stdin, command.stdin_credit = False, 0
            case "exec_response":
                self._running(frame).is_running = False
                self._expect(frame["ending"] == 0 or 1 <= frame["status"] <= 64, frame)
            case "exec_failed":
                self._running(frame).is_running = False
            case "error":
                # The state does not decide this: the test that sends a wrong message expects it.
                pass
            case _:
                self._expect(False, frame)

    def _expect(self, right: bool, frame: SpecFrame) -> None:
        if not right:
            raise Broken(f"{frame} while {self.state}")

    def _running(self, frame: SpecFrame) -> SpecCommand:
        """Return the command with the id of this frame. The command must be running."""
        command = self.commands.get(frame.id)
        if not command or not command.is_running:
            raise Broken(f"{frame} about a command that does not run")
        return command

    # Messages that are not about a command

    def ask(self, name: str, token: int | None = None) -> SpecFrame:
        """Send a `ping` or a `status_request`, and return its answer.

        Earlier messages are dropped.
        """
        self.asked.append(token)
        self.send(encode(name) if token is None else encode(name, token=token))
        while (frame := self.receive()).name != ("status" if token is None else "pong"):
            pass
        return frame

    def sync(self) -> list[SpecFrame]:
        """Send a ping, and return the messages up to its answer."""
        token = secrets.randbits(64)
        self.asked.append(token)
        self.send(encode("ping", token=token))
        frames = []
        while (frame := self.receive()).name != "pong":
            self.take(frame)
            frames.append(frame)
        return frames

    def shutdown(self) -> int:
        """End the guest, and return the reason of its goodbye."""
        self.send(encode("shutdown"))
        while (frame := self.receive()).name != "goodbye":
            pass
        return int(frame["reason"])

    # Running a command

    def start(
        self,
        *argv: bytes,
        command: bytes | None = None,
        env: Sequence[bytes] = (),
        cwd: bytes = b"",
        user: bytes = b"",
        stdin: bytes | None = None,
        fed: bool = False,
        terminal: tuple[int, int] = (0, 0),
        max_processes: int = 0,
        max_memory: int = 0,
        more_argv: Sequence[bytes] = (),
        window: int = 1 << 18,
        beside: bool = False,
    ) -> int:
        """Request a command, and return its id; `finish` collects its result.

        :param stdin: input to send, followed by its end.
        :param fed: True if `type` sends the input, also to a terminal.
        :param terminal: lines and columns.
        :param window: credit for each stream, renewed as output is read; 0 for no credit.
        :param beside: True if other commands may run at the same time.
        """
        assert self.state == "open"
        running = [each for each in self.commands.values() if each.is_running]
        assert not running or (beside and all(each.beside for each in running))
        self.id = max(self.id, *self.commands, 0) + 1
        takes_stdin = stdin is not None or fed or terminal[0] > 0
        credit = dict.fromkeys((1, 2), window)
        self.commands[self.id] = SpecCommand(beside, window, stdin, takes_stdin, credit)
        self.send(
            encode(
                "exec_request",
                self.id,
                command=argv[0] if command is None else command,
                cwd=cwd,
                argv=argv,
                env=env,
                stdout_credit=window,
                stderr_credit=window,
                user=user,
                stdin_from=0 if stdin is None and not fed else 1,
                rows=terminal[0],
                columns=terminal[1],
                max_processes=max_processes,
                max_memory=max_memory,
                speaking=self.version,
                more_argv=more_argv,
                beside=beside,
            )
        )
        self._feed(self.id)
        return self.id

    @property
    def stdin_credit(self) -> int:
        """Credit for the command's input: number of bytes that can be sent now."""
        return self.commands[self.id].stdin_credit

    def say(self, name: str, **fields: Any) -> None:
        """Send a message about the command, even if it breaks the protocol."""
        self.send(encode(name, self.id, **fields))

    def pay(self, stream: int, amount: int) -> None:
        """Send credit for more output."""
        self._pay(self.id, stream, amount)

    def _pay(self, id_: int, stream: int, amount: int) -> None:
        self.commands[id_].credit[stream] += amount
        self.send(encode("exec_credit", id_, stream=stream, amount=amount))

    def type(self, data: bytes) -> None:
        """Send input to the command, as soon as there is credit for it."""
        while data:
            while not self.stdin_credit:
                self.take(self.receive())
            piece = data[: min(self.stdin_credit, 65536)]
            self.say("exec_stdin", data=piece)
            self.commands[self.id].stdin_credit -= len(piece)
            data = data[len(piece) :]

    def read_until(self, what: bytes, stream: int = 1) -> None:
        """Receive frames until the output of a stream contains this text."""
        output = self.commands[self.id].output
        while what not in output[stream]:
            self.take(self.receive())

    def take(self, frame: SpecFrame) -> None:
        """Store output, send credit for more, and send standard input."""
        if frame.name == "exec_output":
            stream, command = frame["stream"], self.commands[frame.id]
            command.output[stream] += frame["data"]
            if command.window and command.credit[stream] < command.window // 2:
                self._pay(frame.id, stream, command.window - command.credit[stream])
        if frame.name == "exec_stdin_credit":
            self._feed(frame.id)

    def _feed(self, id_: int) -> None:
        command = self.commands[id_]
        while command.stdin is not None and (command.stdin_credit or not command.stdin):
            piece = command.stdin[: min(command.stdin_credit, 65536)]
            self.send(encode("exec_stdin", id_, data=piece))
            command.stdin_credit -= len(piece)
            # The frame without data marks the end, and no other follows it.
            command.stdin = command.stdin[len(piece) :] if piece else None

    def finish(self, otherwise: Callable[[SpecFrame], None] | None = None) -> SpecOutcome:
        """Collect the output of the command until it has ended. No other may end before.

        :param otherwise: function that handles each `error` message; without it, such a message is
            a failure.
        """
        while True:
            frame = self.receive()
            if frame.name in ("exec_response", "exec_failed"):
                assert frame.id == self.id
                output = self.commands[self.id].output
                return SpecOutcome(output[1], output[2], frame)
            if frame.name == "error":
                if otherwise is None:
                    raise Broken(str(frame))
                otherwise(frame)
            self.take(frame)

    def run(self, *argv: bytes, **options: Any) -> SpecOutcome:
        self.start(*argv, **options)
        return self.finish()
