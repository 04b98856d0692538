"""A second implementation of the host's end, written from `protocol/SPEC.md` and nothing else.

It shares no code with the library: whoever changes one of the two and not the document finds out
here. It is one file, blocking, and as strict as the document lets a host be.
"""

from __future__ import annotations

import secrets
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

VERSION = 3
DIGEST = 0x10B62806AF5993C0
DIGESTS = {1: 0xBAF4A9AF3981CAF5, 2: 0x928513142A578A32, VERSION: DIGEST}
MAGIC = 0x0A6D766F7263696D
LONGEST_FROM_HOST = 6299841
LONGEST_FROM_GUEST = 65549
HEADER = struct.Struct("<IHHI")  # body_length, type, flags, id

# Malformed frames

CODES = {
    name: code
    for code, name in enumerate(
        "unknown_type bad_direction reserved_flags bad_id body_too_long truncated too_long too_many"
        " total_too_long unknown_value embedded_nul trailing_bytes".split(),
        1,
    )
}


class Malformed(Exception):
    """A frame that a decoder refuses: why, at which offset in it, and in which field."""

    def __init__(self, fault: str, offset: int, number: int = 0) -> None:
        super().__init__(f"{fault} at {offset}, field {number}")
        self.code = CODES[fault]
        self.offset = offset
        self.number = number


class Broken(Exception):
    """The guest does what the document forbids; the machine is to be finished."""


# Types


class Body:
    """A body that is read from its start to its end, field by field."""

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.at = HEADER.size
        self.number = 0

    def take(self, size: int) -> bytes:
        """The next bytes, so many of them."""
        start = self.at
        if size > len(self.frame) - start:
            raise Malformed("truncated", start, self.number)
        self.at += size
        return self.frame[start : self.at]


@dataclass(frozen=True)
class Integer:
    """An integer of so many bytes; a constant, or of a closed enum, when `known` has anything."""

    size: int
    known: tuple[int, ...] = ()

    def read(self, body: Body) -> int:
        """Decode one."""
        start = body.at
        value = int.from_bytes(body.take(self.size), "little")
        if self.known and value not in self.known:
            raise Malformed("unknown_value", start, body.number)
        return value

    def write(self, value: int) -> bytes:
        """Encode one."""
        return value.to_bytes(self.size, "little")


@dataclass(frozen=True)
class Octets:
    """`bytes` within a bound."""

    most: int
    nul: bool = True

    def read(self, body: Body) -> bytes:
        """Decode some."""
        start = body.at
        size = U32.read(body)
        if size > self.most:
            raise Malformed("too_long", start, body.number)
        value = body.take(size)
        if not self.nul and 0 in value:
            raise Malformed("embedded_nul", start + 4 + value.index(0), body.number)
        return value

    def write(self, value: bytes) -> bytes:
        """Encode some."""
        return U32.write(len(value)) + value


@dataclass(frozen=True)
class Items:
    """`list<bytes>` within its bounds."""

    most: int
    each: Octets
    in_all: int

    def read(self, body: Body) -> list[bytes]:
        """Decode a list."""
        start = body.at
        count = U32.read(body)
        if count > self.most:
            raise Malformed("too_many", start, body.number)
        first = body.at
        items = []
        for _ in range(count):
            start = body.at
            items.append(self.each.read(body))
            if body.at - first > self.in_all:
                raise Malformed("total_too_long", start, body.number)
        return items

    def write(self, value: Sequence[bytes]) -> bytes:
        """Encode a list."""
        return U32.write(len(value)) + b"".join(self.each.write(item) for item in value)


@dataclass(frozen=True)
class Tail:
    """The rest of a body."""

    most: int

    def read(self, body: Body) -> bytes:
        """Decode it."""
        left = len(body.frame) - body.at
        if left > self.most:
            raise Malformed("too_long", body.at, body.number)
        return body.take(left)

    def write(self, value: bytes) -> bytes:
        """Encode it."""
        return value


U8, U16, U32, U64 = (Integer(size) for size in (1, 2, 4, 8))
LIST = Items(16384, Octets(131071, nul=False), 1048576)
MORE = Items(262144, Octets(131071, nul=False), 2097152)

# Messages: type, sender, whether an id is required (None: any), longest body, fields.

_GREETING = {
    "magic": Integer(8, (MAGIC,)),
    "version": U32,
    "digest": U64,
    "max_body": U32,
    "nonce": U64,
}
_STATUS = "started_ns opened_ns now_ns frames_seen frames_refused execs bytes_dropped".split()
MESSAGES: dict[str, tuple[int, str, bool | None, int, dict[str, Any]]] = {
    "hello": (1, "host", False, 32, _GREETING),
    "ready": (2, "guest", False, 32, _GREETING),
    "resume": (3, "host", False, 76, {"realtime_ns": U64, "entropy": Octets(64)}),
    "ping": (4, "host", False, 8, {"token": U64}),
    "pong": (5, "guest", False, 8, {"token": U64}),
    "status_request": (6, "host", False, 0, {}),
    "status": (
        7,
        "guest",
        False,
        69,
        {**dict.fromkeys(_STATUS, U64), "descriptors": U32, "zombies": U8, "memory": U64},
    ),
    "shutdown": (8, "host", False, 0, {}),
    "goodbye": (9, "guest", False, 1, {"reason": U8}),
    "error": (
        10,
        "guest",
        None,
        9,
        {"code": U16, "refused_type": U16, "offset": U32, "field": U8},
    ),
    "keep": (11, "host", False, 0, {}),
    "exec_request": (
        16,
        "host",
        True,
        6299829,
        {
            "command": Octets(4096, nul=False),
            "cwd": Octets(4096, nul=False),
            "argv": LIST,
            "env": LIST,
            "stdout_credit": U32,
            "stderr_credit": U32,
            "user": Octets(128, nul=False),
            "stdin_from": Integer(1, (0, 1)),
            "rows": U16,
            "columns": U16,
            "max_processes": U32,
            "max_memory": U64,
            "more_argv": MORE,
            "more_env": MORE,
        },
    ),
    "exec_output": (
        17,
        "guest",
        True,
        65537,
        {"stream": Integer(1, (1, 2)), "data": Tail(65536)},
    ),
    "exec_response": (
        18,
        "guest",
        True,
        10,
        {"ending": Integer(1, (0, 1, 2)), "status": U8, "memory": U64},
    ),
    "exec_failed": (
        19,
        "guest",
        True,
        105,
        {"stage": U8, "error_number": U32, "missing": Octets(96)},
    ),
    "exec_signal": (20, "host", True, 1, {"signal": U8}),
    "exec_kill": (21, "host", True, 0, {}),
    "exec_terminate": (27, "host", True, 0, {}),
    "exec_credit": (22, "host", True, 5, {"stream": Integer(1, (1, 2)), "amount": U32}),
    "exec_stdin": (23, "host", True, 65536, {"data": Tail(65536)}),
    "exec_stdin_credit": (24, "guest", True, 4, {"amount": U32}),
    "exec_stdin_closed": (25, "guest", True, 0, {}),
    "exec_resize": (26, "host", True, 4, {"rows": U16, "columns": U16}),
}
NAMES = {number: name for name, (number, *_) in MESSAGES.items()}
SINCE = {
    ("exec_request", "more_argv"): 2,
    ("exec_request", "more_env"): 2,
    ("exec_failed", "missing"): 2,
    ("exec_response", "memory"): 3,
}
"""The versions of fields that came later than their messages."""


def layout_of(name: str, version: int) -> dict[str, Any]:
    """A message's fields in a version."""
    fields = MESSAGES[name][-1]
    return {key: kind for key, kind in fields.items() if version >= SINCE.get((name, key), 1)}


@dataclass
class Frame:
    """A message, its id and its fields; a constant is one of them."""

    name: str
    id: int = 0
    fields: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, key: str) -> Any:
        """The value of a field."""
        return self.fields[key]


def encode(name: str, id_: int = 0, *, speaking: int = VERSION, **fields: Any) -> bytes:
    """A frame as it stands on the wire, in the version that is spoken."""
    number = MESSAGES[name][0]
    layout = layout_of(name, speaking)
    body = b"".join(kind.write(fields[key]) for key, kind in layout.items())
    return HEADER.pack(len(body), number, 0, id_) + body


def decode(data: bytes, sender: str, speaking: int = VERSION) -> tuple[Frame, int] | None:
    """The frame that this begins with, and how long it is; None while it is not whole.

    :param speaking: the version that is spoken.
    :raises Malformed: it is refused.
    """
    if len(data) < HEADER.size:
        return None
    length, number, flags, id_ = HEADER.unpack_from(data)
    if number not in NAMES:
        raise Malformed("unknown_type", 4)
    name = NAMES[number]
    _, who, needs_id, longest, _ = MESSAGES[name]
    if who != sender:
        raise Malformed("bad_direction", 4)
    if flags:
        raise Malformed("reserved_flags", 6)
    if needs_id is not None and needs_id != (id_ != 0):
        raise Malformed("bad_id", 8)
    if length > longest:
        raise Malformed("body_too_long", 0)
    size = HEADER.size + length
    if len(data) < size:
        return None
    body = Body(data[:size])
    fields = {}
    for body.number, (key, kind) in enumerate(layout_of(name, speaking).items(), 1):
        fields[key] = kind.read(body)
    if body.at < size:
        raise Malformed("trailing_bytes", body.at)
    return Frame(name, id_, fields), size


# The host


@dataclass
class Outcome:
    """The result of a command: its output, and how it ended."""

    stdout: bytes
    stderr: bytes
    end: Frame

    @property
    def exit_code(self) -> int:
        """The exit code of a command that has exited."""
        assert (self.end.name, self.end["ending"]) == ("exec_response", 0), self.end
        return int(self.end["status"])

    @property
    def signal(self) -> int:
        """The signal that has ended it."""
        assert (self.end.name, self.end["ending"]) == ("exec_response", 1), self.end
        return int(self.end["status"])

    @property
    def failure(self) -> tuple[int, int]:
        """Stage and error number of a command that was not started."""
        assert self.end.name == "exec_failed", self.end
        return self.end["stage"], self.end["error_number"]


class Host:
    """The host's end of a stream, which is a blocking socket."""

    def __init__(self, stream: socket.socket, *, deadline: float = 20.0) -> None:
        """Take a stream; `greet` is what comes first.

        :param deadline: how long the guest may let us wait, in seconds.
        """
        self.stream = stream
        self.deadline = deadline
        self.state = "new"
        self.version = VERSION
        self.id = 0
        self.data = bytearray()  # what was read and is no frame yet
        self.asked: list[int | None] = []  # tokens of pings; None for the counters
        self._credit = {1: 0, 2: 0}
        self._window = 0
        self._output = {1: b"", 2: b""}
        self._stdin: bytes | None = None
        self.stdin_credit = 0
        self._takes_stdin = False

    # Bytes

    def wait(self, *, to_write: bool, until: float) -> bool:
        """Read what there is, and say whether there is room to write."""
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
        """Write bytes, and read meanwhile: a guest whose answers nobody takes stops to read."""
        rest = memoryview(data)
        until = time.monotonic() + self.deadline
        while rest:
            if self.wait(to_write=True, until=until):
                try:
                    rest = rest[self.stream.send(rest, socket.MSG_DONTWAIT) :]
                except BlockingIOError:
                    continue

    def receive(self) -> Frame:
        """The next frame, which the state allows; it may change the state."""
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

    def greet(self, *, fill: bool = False, resume: bool = True) -> Frame:
        """Start a new session on the stream, and tell the guest the time.

        :param fill: nobody knows where on the stream its last host has stopped.
        :param resume: whether the guest goes on at once.
        """
        nonce = secrets.randbits(64)
        self.state, self.id, self.asked = "greeting", 0, []
        fill_up = b"\xff" * (LONGEST_FROM_HOST if fill else 0)
        hello = encode(
            "hello",
            magic=MAGIC,
            version=VERSION,
            digest=DIGEST,
            max_body=LONGEST_FROM_GUEST,
            nonce=nonce,
        )
        self.send(fill_up + hello)
        ready = self.find_ready(nonce)
        self.version = min(VERSION, ready["version"])
        if ready["version"] <= VERSION and ready["digest"] != DIGESTS.get(ready["version"]):
            raise Broken(
                f"the guest speaks version {ready['version']} of {ready['digest']:#x},"
                f" and we speak version {VERSION} of {DIGEST:#x}"
            )
        self.state = "idle"
        if resume:
            self.resume()
        return ready

    def resume(self) -> None:
        """Tell the guest the time, and give it random numbers."""
        self.send(encode("resume", realtime_ns=time.time_ns(), entropy=secrets.token_bytes(64)))

    def find_ready(self, nonce: int) -> Frame:
        """Drop everything up to our `ready`, which may begin at any byte, and that, too."""
        start = HEADER.pack(32, 2, 0, 0) + struct.pack("<Q", MAGIC)
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

    def _step(self, frame: Frame) -> None:
        """Check a frame against the state, and take the step that it means."""
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
                # Not ours to expect: who sends something wrong on purpose takes it.
                pass
            case _:
                self._expect(False, frame)

    def _expect(self, right: bool, frame: Frame) -> None:
        if not right:
            raise Broken(f"{frame} while {self.state}")

    def _expect_running(self, frame: Frame) -> None:
        self._expect(self.state == "running" and frame.id == self.id, frame)

    # What is not about an exec

    def ask(self, name: str, token: int | None = None) -> Frame:
        """Send a `ping` or a `status_request`, and return its answer; what comes before is lost."""
        self.asked.append(token)
        self.send(encode(name) if token is None else encode(name, token=token))
        while (frame := self.receive()).name != ("status" if token is None else "pong"):
            pass
        return frame

    def sync(self) -> list[Frame]:
        """Return what has come and comes until a `ping` is answered."""
        token = secrets.randbits(64)
        self.asked.append(token)
        self.send(encode("ping", token=token))
        frames = []
        while (frame := self.receive()).name != "pong":
            self.take(frame)
            frames.append(frame)
        return frames

    def shutdown(self) -> int:
        """End the guest; return the reason of its goodbye."""
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
        """Ask for a command; `finish` takes what comes of it.

        :param stdin: what it is fed, and then the end.
        :param fed: that `type` feeds it; so it can on a terminal, too.
        :param terminal: lines and columns.
        :param window: credit for each stream, renewed as its output is taken; 0 for none at all.
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
                more_env=(),
            )
        )
        self._feed()

    def say(self, name: str, **fields: Any) -> None:
        """Send something about the command in flight, as it is."""
        self.send(encode(name, self.id, **fields))

    def pay(self, stream: int, amount: int) -> None:
        """Allow more output."""
        self._credit[stream] += amount
        self.say("exec_credit", stream=stream, amount=amount)

    def type(self, data: bytes) -> None:
        """Feed the command as much as there is credit for, which is waited for."""
        while data:
            while not self.stdin_credit:
                self.take(self.receive())
            piece = data[: min(self.stdin_credit, 65536)]
            self.say("exec_stdin", data=piece)
            self.stdin_credit -= len(piece)
            data = data[len(piece) :]

    def read_until(self, what: bytes, stream: int = 1) -> None:
        """Take frames until the output of a stream has this in it."""
        while what not in self._output[stream]:
            self.take(self.receive())

    def take(self, frame: Frame) -> None:
        """Keep output, pay for more of it, and feed standard input."""
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
            # The frame without data is the end, and nothing follows it.
            self._stdin = self._stdin[len(piece) :] if piece else None

    def finish(self, otherwise: Callable[[Frame], None] | None = None) -> Outcome:
        """Take the command's output until it has ended.

        :param otherwise: gets each `error`; without it that is the guest's fault.
        """
        while True:
            frame = self.receive()
            if frame.name in ("exec_response", "exec_failed"):
                return Outcome(self._output[1], self._output[2], frame)
            if frame.name == "error":
                if otherwise is None:
                    raise Broken(str(frame))
                otherwise(frame)
            self.take(frame)

    def run(self, *argv: bytes, **options: Any) -> Outcome:
        """Run a command to its end."""
        self.start(*argv, **options)
        return self.finish()
