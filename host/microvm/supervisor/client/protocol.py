"""The client of a supervisor, without I/O: it encodes requests, and decodes bytes into events.

Two drivers do the I/O: `blocking` for the command line, and `asynchronous` for the library. Each
event is a pair of a name and a value:

- `("started", True)`: the command of the request runs;
- `("dropped", [N, N])`: number of bytes that the output of a detached command lacks, per stream;
- `("exited", True)`: the detached command has exited, and the rest of its output follows;
- `("leased", FACTS)`: the pool lends a machine to the client, until the client disconnects;
- `("notice", TEXT)`: a line for the user, while a machine starts, or after a failed command;
- `("result", VALUE)`: the result in the reply;
- `("error", MicroVMError)`: the reply if the request failed, or the error for an invalid line;
- `("end", None)`: the supervisor has closed the connection.
"""

from __future__ import annotations

from microvm.supervisor import lazy, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Event = tuple[str, Any]

MAX_PINGS = 12
"""Number of pings in a row that may stay unanswered, by default."""


def request(**fields: object) -> bytes:
    """Return the line with a client's request, which is the first line of its connection."""
    return _line({"wire": wire.WIRE, **fields})


def signal(number: int) -> bytes:
    """Return the line by which a client sends a signal to its command."""
    return _line({"signal": number})


def resize(lines: int, columns: int) -> bytes:
    """Return the line by which a client sends a new terminal size to its command."""
    return _line({"resize": [lines, columns]})


def abandon() -> bytes:
    """Return the line by which a client asks the supervisor to kill the client's command."""
    return _line({"abandon": True})


def end_input() -> bytes:
    """Return the line by which a client says that its end of file ends the command's input."""
    return _line({"eof": True})


def _line(value: dict[str, Any]) -> bytes:
    try:
        return wire.encode(value)
    except ValueError as error:
        raise lazy.errors.UsageError(f"cannot send the request to the machine: {error}") from None


class ClientProtocol:
    """The state of a client's connection to a supervisor.

    :ivar silences: number of intervals in a row in which the supervisor sent nothing.
    :ivar max_pings: number of pings in a row that may stay unanswered.
    """

    def __init__(self, name: str, max_pings: int = MAX_PINGS) -> None:
        """Create the state of a connection to machine `name`; `max_pings` may stay unanswered."""
        self.silences = 0
        self._name = name
        self.max_pings = max_pings
        self._buffer = bytearray()
        self._is_broken = False

    def receive(self, data: bytes) -> list[Event]:
        """Decode further bytes from the supervisor, and return the events that they complete.

        `data` is empty at the end of file. After an invalid line, all further bytes are ignored.
        """
        self.silences = 0
        if not data:
            return [("end", None)]
        if self._is_broken:
            return []
        self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        events: list[Event] = []
        try:
            for line in lines:
                events += _events(wire.decode(line))
            if len(self._buffer) > wire.LIMIT:
                raise ValueError("it is too long")
        except ValueError as error:
            self._is_broken = True
            message = f"the supervisor of {self._name} sent an invalid line: {error}"
            events.append(("error", lazy.errors.ProtocolError(message)))
        return events

    def ping(self) -> bytes | None:
        """Return a ping to send after a silent interval; None if too many pings are unanswered.

        We count intervals instead of seconds, because the clock continues while both processes are
        stopped, for example while the host sleeps.
        """
        self.silences += 1
        if self.silences > self.max_pings:
            return None
        return _line({"ping": self.silences})


def _events(line: dict[str, Any]) -> list[Event]:
    if "pong" in line:
        return []
    if "error" in line:
        return [("error", lazy.error_json.from_json(line["error"]))]
    for name in ("result", "started", "dropped", "exited", "notice", "leased"):
        if name in line:
            return [(name, line[name])]
    raise ValueError("it has no known key")
