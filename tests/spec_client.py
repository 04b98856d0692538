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


class SpecHost:
    """The host side of a stream, which is a blocking socket."""

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
        self._credit = {1: 0, 2: 0}
        self._window = 0
        self._output = {1: b"", 2: b""}
        self._stdin: bytes | None = None
        self.stdin_credit = 0
        self._takes_stdin = False

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
        self.state, self.id, self.asked = "greeting", 0, []
        fill_up = b"\xff" * (LONGEST_FROM_HOST if fill else 0)
        hello = encode(
            "hello", version=VERSION, digest=DIGEST, max_body=LONGEST_FROM_GUEST, nonce=nonce
        )
        self.send(fill_up + hello)
        ready = self.find_ready(nonce)
        self.version = min(VERSION, ready["version"])
        if ready["version"] <= VERSION and ready["digest"] != SPEC.digests.get(ready["version"]):
            raise Broken(
                f"the guest speaks version {ready['version']} of {ready['digest']:#x},"
                f" and we speak version {VERSION} of {DIGEST:#x}"
            )
        self.state = "idle"
        if resume:
            self.resume()
        return ready

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
                size = len(frame["data"])
                self._expect_running(frame)
                self._expect(0 < size <= self._credit[frame["stream"]], frame)
                self._credit[frame["stream"]] -= size
            case "exec_stdin_credit":
                self._expect_running(frame)
                self._expect(self._takes_stdin and frame["amount"] > 0, frame)
                self.stdin_credit += frame["amount"]
            case "exec_stdin_closed":
                self._expect_running(frame)
                self._expect(self._takes_stdin, frame)
                self._takes_stdin = False
                self.stdin_credit = 0
            case "exec_response":
                self._expect_running(frame)
                self._expect(frame["ending"] == 0 or 1 <= frame["status"] <= 64, frame)
                self.state = "idle"
            case "exec_failed":
                self._expect_running(frame)
                self.state = "idle"
            case "error":
                # The state does not decide this: the test that sends a wrong message expects it.
                pass
            case _:
                self._expect(False, frame)

    def _expect(self, right: bool, frame: SpecFrame) -> None:
        if not right:
            raise Broken(f"{frame} while {self.state}")

    def _expect_running(self, frame: SpecFrame) -> None:
        self._expect(self.state == "running" and frame.id == self.id, frame)

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
    ) -> None:
        """Request a command; `finish` collects its result.

        :param stdin: input to send, followed by its end.
        :param fed: True if `type` sends the input, also to a terminal.
        :param terminal: lines and columns.
        :param window: credit for each stream, renewed as output is read; 0 for no credit.
        """
        assert self.state == "idle"
        self.id += 1
        self._window = window
        self._credit = dict.fromkeys((1, 2), window)
        self._output = dict.fromkeys((1, 2), b"")
        self._stdin, self.stdin_credit = stdin, 0
        self._takes_stdin = stdin is not None or fed or terminal[0] > 0
        self.state = "running"
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
            )
        )
        self._feed()

    def say(self, name: str, **fields: Any) -> None:
        """Send a message about the running command, unchanged."""
        self.send(encode(name, self.id, **fields))

    def pay(self, stream: int, amount: int) -> None:
        """Send credit for more output."""
        self._credit[stream] += amount
        self.say("exec_credit", stream=stream, amount=amount)

    def type(self, data: bytes) -> None:
        """Send input to the command, as soon as there is credit for it."""
        while data:
            while not self.stdin_credit:
                self.take(self.receive())
            piece = data[: min(self.stdin_credit, 65536)]
            self.say("exec_stdin", data=piece)
            self.stdin_credit -= len(piece)
            data = data[len(piece) :]

    def read_until(self, what: bytes, stream: int = 1) -> None:
        """Receive frames until the output of a stream contains this text."""
        while what not in self._output[stream]:
            self.take(self.receive())

    def take(self, frame: SpecFrame) -> None:
        """Store output, send credit for more, and send standard input."""
        if frame.name == "exec_output":
            stream = frame["stream"]
            self._output[stream] += frame["data"]
            if self._window and self._credit[stream] < self._window // 2:
                self.pay(stream, self._window - self._credit[stream])
        if frame.name == "exec_stdin_credit" and self._stdin is not None:
            self._feed()

    def _feed(self) -> None:
        while self._stdin is not None and (self.stdin_credit or not self._stdin):
            piece = self._stdin[: min(self.stdin_credit, 65536)]
            self.say("exec_stdin", data=piece)
            self.stdin_credit -= len(piece)
            # The frame without data marks the end, and no other follows it.
            self._stdin = self._stdin[len(piece) :] if piece else None

    def finish(self, otherwise: Callable[[SpecFrame], None] | None = None) -> SpecOutcome:
        """Collect the output of the command until it ends.

        :param otherwise: function that handles each `error` message; without it, such a message is
            a failure.
        """
        while True:
            frame = self.receive()
            if frame.name in ("exec_response", "exec_failed"):
                return SpecOutcome(self._output[1], self._output[2], frame)
            if frame.name == "error":
                if otherwise is None:
                    raise Broken(str(frame))
                otherwise(frame)
            self.take(frame)

    def run(self, *argv: bytes, **options: Any) -> SpecOutcome:
        self.start(*argv, **options)
        return self.finish()
