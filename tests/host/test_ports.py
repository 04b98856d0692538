"""Tests of the values of `--publish` and `--reverse`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from microvm.errors import MicroVMError, UsageError
from microvm.guest.connections import Connections
from microvm.machine.open_ports import OpenPorts
from microvm.ports import PublishedPort, ReversePort, facts, lines


@pytest.mark.parametrize(
    ("text", "port", "shown"),
    [
        ("8080:80", PublishedPort(80, "127.0.0.1", 8080), "127.0.0.1:8080:80"),
        ("8080:80/tcp", PublishedPort(80, "127.0.0.1", 8080), "127.0.0.1:8080:80"),
        ("80", PublishedPort(80, "127.0.0.1", 0), "127.0.0.1:0:80"),
        (":80", PublishedPort(80, "127.0.0.1", 0), "127.0.0.1:0:80"),
        ("0:80", PublishedPort(80, "127.0.0.1", 0), "127.0.0.1:0:80"),
        ("::80", PublishedPort(80, "127.0.0.1", 0), "127.0.0.1:0:80"),
        ("0.0.0.0::80", PublishedPort(80, "0.0.0.0", 0), "0.0.0.0:0:80"),  # noqa: S104
        ("[::1]:8080:80", PublishedPort(80, "::1", 8080), "[::1]:8080:80"),
        ("1:/run/x:y.sock", PublishedPort("/run/x:y.sock", "127.0.0.1", 1), None),
        ("/run/x.sock", PublishedPort("/run/x.sock", "127.0.0.1", 0), None),
    ],
)
def test_published_ports(text: str, port: PublishedPort, shown: str | None) -> None:
    assert PublishedPort.parse(text) == port
    assert shown is None or str(port) == shown
    assert PublishedPort.parse(str(port)) == port


@pytest.mark.parametrize(
    "text",
    [
        *["", ":", "x", "80:", "80:x", "-1:80", "0", "8080:0", "65536:80", "80:65536", "1:2:3:4"],
        *["::1:80:80", "[::1:80:80", "53:53/udp", "host:80:", "8080 :80", "9" * 5000],
    ],
)
def test_invalid_published_ports(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not|has an invalid port"):
        PublishedPort.parse(text)


@pytest.mark.parametrize(
    ("text", "port", "shown"),
    [
        ("8000:localhost:80", ReversePort(8000, ("localhost", 80)), "8000:localhost:80"),
        (":db.example:5432", ReversePort(0, ("db.example", 5432)), "0:db.example:5432"),
        ("0:[::1]:80", ReversePort(0, ("::1", 80)), "0:[::1]:80"),
        ("8000:/run/x:y.sock", ReversePort(8000, "/run/x:y.sock"), "8000:/run/x:y.sock"),
        ("8000:./x", ReversePort(8000, str(Path("x").absolute())), None),
    ],
)
def test_reverse_ports(text: str, port: ReversePort, shown: str | None) -> None:
    assert ReversePort.parse(text) == port
    assert shown is None or str(port) == shown
    assert ReversePort.parse(str(port)) == port


@pytest.mark.parametrize(
    "text",
    [
        *["", "8000", "8000:80", "8000::80", "8000:host", "8000:host:", "8000:host:0", "8000:x"],
        *["65536:host:80", "8000:host:65536", "x:host:80", "8000:::1:80", "8000:[]:80"],
    ],
)
def test_invalid_reverse_ports(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not|has an invalid port"):
        ReversePort.parse(text)


def test_ports_as_text() -> None:
    published = [PublishedPort.parse("8080:80"), PublishedPort.parse("[::1]:1:/run/x.sock")]
    reverse = [ReversePort.parse("8000:localhost:80"), ReversePort.parse("1:/run/y.sock")]
    assert lines(facts(published, reverse)) == [
        "80/tcp -> 127.0.0.1:8080",
        "/run/x.sock -> [::1]:1",
        "8000/tcp <- localhost:80",
        "1/tcp <- /run/y.sock",
    ]


async def test_address_of_another_host_is_an_error() -> None:
    guest: Any = None
    machine: Any = SimpleNamespace(_connections=lambda: Connections(lambda: guest, object()))
    async with OpenPorts(machine) as ports:
        with pytest.raises(MicroVMError) as caught:
            await ports.open([PublishedPort.parse("192.0.2.1:8080:80")], [])
    assert (
        caught.value.message == "cannot listen on 192.0.2.1:8080: Cannot assign requested address"
    )
