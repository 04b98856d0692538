"""Servers that `microvm mcp` runs, and clients that call their tools."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO

from httpx2 import AsyncClient
from mcp import StdioServerParameters
from mcp.client import Client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from tests.support.processes import children

from microvm.cli.mcp.token import VARIABLE
from microvm_image import default

TOKEN = "a-token-for-tests-only"  # noqa: S105
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True, slots=True)
class Caller:
    """A client that calls tools, as a model does."""

    client: Client

    async def call(self, tool: str, **arguments: object) -> str:
        """Call a tool that must succeed, and return its text."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, text(result)
        return text(result)

    async def fail(self, tool: str, **arguments: object) -> str:
        """Call a tool that must fail, and return the text of its error."""
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error, text(result)
        return text(result)


def text(result: CallToolResult) -> str:
    """Return the text of a tool's result."""
    return "".join(each.text for each in result.content if isinstance(each, TextContent))


def command(*options: str) -> list[str]:
    """Return the command that runs a server, whose machines have the default image by default."""
    return [sys.executable, "-m", "microvm", "mcp", "--image", str(default().path), *options]


@asynccontextmanager
async def over_stdio(*options: str, mode: str = "auto") -> AsyncIterator[Caller]:
    """Context manager: start a server that serves one client, and yield this client."""
    program, *arguments = command(*options)
    server = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
    async with Client(stdio_client(server), mode=mode) as client:
        yield Caller(client)


def own_server() -> int:
    """Return the process id of the only server that this process has started."""
    [server] = children(os.getpid())
    return server


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server over HTTP.

    :ivar url: URL of the server.
    :ivar process: Process of the server.
    :ivar errors: File with the standard error of the server.
    """

    url: str
    process: subprocess.Popen[str]
    errors: IO[bytes]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Caller]:
        """Context manager: open a session, and delete it at the end."""
        async with (
            AsyncClient(headers=HEADERS, timeout=60) as http,
            Client(streamable_http_client(self.url, http_client=http)) as client,
        ):
            yield Caller(client)


@contextmanager
def over_http(*options: str) -> Iterator[HttpServer]:
    """Context manager: start a server over HTTP, and end it by SIGTERM."""
    environment = {**os.environ, VARIABLE: TOKEN}
    line = command("--http", "0", *options)
    with (
        TemporaryFile() as errors,
        subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            yield HttpServer(process.stdout.readline().strip(), process, errors)
        finally:
            process.terminate()
