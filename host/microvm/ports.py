"""The ports that users want to open: ports of this host, and ports of a guest.

A value of the option `--publish` describes a port of this host that leads to a guest. A value of
`--reverse` describes a port of a guest that leads to a server.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

from microvm.errors import UsageError
from microvm.printable import quoted

# Address of this host at which ports are published, unless the user names another one.
_LOOPBACK = "127.0.0.1"

Described: TypeAlias = dict[str, list[dict[str, Any]]]
"""Descriptions of ports for JSON: a list with the key `published`, and one with the key `reverse`.
"""

_HIGHEST = 65535  # highest number of a TCP port

# A pattern for a host name or an address, which may be empty. An IPv6 address has brackets, as in
# URLs.
_HOST = r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:/\[\]]*))"

_PUBLISH = re.compile(rf"(?:(?:{_HOST}:)?(?P<port>\d*):)?(?P<guest>\d+|/.*)(?:/tcp)?", re.ASCII)
_REVERSE = re.compile(rf"(?P<guest>\d*):(?:{_HOST}:(?P<port>\d+)|(?P<path>\.{{0,2}}/.*))", re.ASCII)


@dataclass(frozen=True, slots=True)
class PublishedPort:
    """A port of this host whose clients are connected to a server in the guest.

    :ivar guest: TCP port, or path of a Unix socket, in the guest.
    :ivar host: Address of this host.
    :ivar port: Port of this host; 0 to choose a free port.
    """

    guest: int | str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the port that a text such as `8080:80` describes, as in `docker run -p`.

        :raises UsageError: If the text is invalid.
        """
        found = _PUBLISH.fullmatch(text)
        if found is None:
            raise UsageError(f"{quoted(text)} is not [[HOST:]PORT:]GUEST, such as 8080:80")
        guest = found["guest"]
        port = _number(found["port"] or "0", text)
        named = found["v6"] or found["name"] or _LOOPBACK
        return cls(guest if guest.startswith("/") else _number(guest, text, 1), named, port)

    @property
    def source(self) -> str:
        """The address and port of this host to which clients connect, as text."""
        return _address(self.host, self.port)

    def __str__(self) -> str:
        return f"{self.source}:{self.guest}"


@dataclass(frozen=True, slots=True)
class ReversePort:
    """A port of the guest whose clients are connected to a server that this host can reach.

    :ivar guest: TCP port of the guest's loopback interface; 0 to choose a free port.
    :ivar target: Host and port, or path of a Unix socket of this host.
    """

    guest: int
    target: tuple[str, int] | str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the port that a text such as `8000:localhost:8000` describes, as in `ssh -R`.

        :raises UsageError: If the text is invalid.
        """
        found = _REVERSE.fullmatch(text)
        named = found and (found["v6"] or found["name"] or found["path"])
        if not found or not named:
            example = "8000:localhost:8000 or 8000:/run/x.sock"
            raise UsageError(f"{quoted(text)} is not GUEST:HOST:PORT, such as {example}")
        guest = _number(found["guest"] or "0", text)
        if found["path"]:
            return cls(guest, str(Path(named).absolute()))
        return cls(guest, (named, _number(found["port"], text, 1)))

    @property
    def goal(self) -> str:
        """The target as text, such as `localhost:8000`."""
        return self.target if isinstance(self.target, str) else _address(*self.target)

    def __str__(self) -> str:
        return f"{self.guest}:{self.goal}"


def _number(text: str, given: str, least: int = 0) -> int:
    if len(text) > len(str(_HIGHEST)) or not least <= int(text) <= _HIGHEST:
        raise UsageError(f"{quoted(given)} has an invalid port: {text}")
    return int(text)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _guest(port: int | str) -> str:
    return port if isinstance(port, str) else f"{port}/tcp"


def facts(published: Sequence[PublishedPort], reverse: Sequence[ReversePort]) -> Described:
    """Return descriptions of ports, with the member names that docs/json.md defines."""
    return {
        "published": [
            {"guest": each.guest, "host": each.host, "port": each.port} for each in published
        ],
        "reverse": [{"guest": each.guest, "target": each.goal} for each in reverse],
    }


def lines(described: Described) -> list[str]:
    """Return a line of text for each port in `described`, the result of `facts`."""
    return [
        *(
            f"{_guest(each['guest'])} -> {_address(each['host'], each['port'])}"
            for each in described.get("published", ())
        ),
        *(f"{_guest(each['guest'])} <- {each['target']}" for each in described.get("reverse", ())),
    ]
