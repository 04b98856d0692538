"""Tests of the hints for commands that failed because their machine lacks something."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM

import pytest

from microvm.machine.hints import ErrorTail, wants_network

MEMORY = 256 << 20
MESSAGES = (
    "WARNING: Retrying (Retry(total=0, …)) after connection broken by 'NewConnectionError('<…>: "
    "Failed to establish a new connection: [Errno -3] Temporary failure in name resolution')'",
    "curl: (6) Could not resolve host: example.org",
    "fatal: unable to access 'https://example.org/x.git/': Could not resolve host: example.org",
    "wget: unable to resolve host address 'example.org'",
    "wget: bad address 'example.org'",
    "ping: sendto: Network unreachable",
    "connect to 192.0.2.1: Network is unreachable",
    "W: Failed to fetch http://…  Temporary failure resolving 'mirror.example.org'",
    "WARNING: updating and opening https://…/main: temporary error (try again later)",
    "npm ERR! request to https://… failed, reason: getaddrinfo EAI_AGAIN registry.example.org",
    "go: dial tcp: lookup proxy.golang.org on 127.0.0.1:53: read udp …: connection refused",
    "error: failed to lookup address information: Try again",
    "ssh: Could not resolve hostname example.org: Temporary failure in name resolution",
)


async def hint(
    *chunks: bytes,
    returncode: int = 1,
    peak: int | None = 1 << 20,
    written: bytearray | None = None,
) -> str:
    """Return the hint for a command that writes these chunks to standard error."""
    written = bytearray() if written is None else written

    async def write(data: bytearray | bytes | memoryview) -> None:
        written.extend(data)

    errors = ErrorTail()
    watched = errors.watch(write)
    for chunk in chunks:
        await watched(memoryview(chunk))
    return errors.hint(returncode, peak, MEMORY, copier="--copy", opener="-R")


@pytest.mark.parametrize("message", MESSAGES)
async def test_program_that_cannot_reach_a_host_is_explained(message: str) -> None:
    line = message.encode() + b"\n"
    written = bytearray()
    assert wants_network(line)
    assert (await hint(line, written=written)).startswith("a machine has no network: ")
    assert await hint(line, returncode=0) == ""
    assert written == line


@pytest.mark.parametrize(
    "message",
    [
        b"ERROR: Could not resolve dependencies",
        b"wget: can't connect to remote host: Connection refused",
        b"E: Unable to locate package x",
        b"bad address",
    ],
)
async def test_other_failures_are_not_explained(message: bytes) -> None:
    assert await hint(message) == ""


async def test_only_the_end_of_the_errors_counts() -> None:
    message = b"curl: (6) Could not resolve host: x\n"
    many = b"x" * 3000
    assert await hint(message, many)
    assert await hint(many, many, message[:9], message[9:], b"done\n")
    assert await hint(message, many, many) == ""
    assert await hint(message + many + many) == ""


async def test_full_disk_is_explained() -> None:
    assert "--disk" in await hint(b"cp: write error: No space left on device\n")


@pytest.mark.parametrize(
    ("returncode", "peak", "is_explained"),
    [
        (-SIGKILL, MEMORY * 3 // 4, True),
        (128 + SIGKILL, MEMORY * 3 // 4, True),
        (-SIGTERM, MEMORY * 3 // 4, False),
        (1, MEMORY * 3 // 4, False),
        (-SIGKILL, MEMORY // 3, False),
        (-SIGKILL, None, False),
    ],
)
async def test_command_that_is_killed_for_memory_is_explained(
    returncode: int, peak: int | None, is_explained: bool
) -> None:
    said = await hint(b"", returncode=returncode, peak=peak)
    assert said == is_explained * (
        "the command was killed when it used 192M of memory, and the machine has 256M: give it "
        "more with --memory"
    )
