"""Serves many clients over streamable HTTP. Each session of the protocol has its own machines."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import anyio
import uvicorn
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, StreamableHTTPServerTransport
from mcp.server.transport_security import (
    RequestBodyLimitMiddleware,
    TransportSecurityMiddleware,
    TransportSecuritySettings,
)
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from microvm.cli.mcp.allowance import Allowances
from microvm.cli.mcp.limits import MAX_MESSAGE, ServerLimits
from microvm.cli.mcp.server import make_server
from microvm.cli.mcp.session import ClientSession
from microvm.concurrency.tasks import cancel, wait_ended
from microvm.errors import MicroVMError

PATH = "/mcp"
"""Path of the server's URL."""

HOST = "127.0.0.1"
"""Address at which the server listens: only programs of this host can connect."""

_MAX_SESSIONS = 64
_MAX_SHUTDOWN = 2  # maximum number of seconds to wait for the last answers at the end


class Sessions:
    """The application that serves all clients: it creates their sessions, and ends them.

    A session ends when its client deletes it, when it was not used for some time, or by `close`.
    """

    def __init__(self, limits: ServerLimits, idle_timeout: float) -> None:
        """Create the application without sessions.

        :param idle_timeout: Number of seconds after which a session without a request, and without
            a client that listens, ends.
        """
        self._limits = limits
        self._allowances = Allowances(limits)
        self._idle_timeout = idle_timeout
        self._transports: dict[str, StreamableHTTPServerTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def close(self) -> None:
        """End all sessions, and refuse new ones."""
        self._is_closed = True
        await cancel(self._tasks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the session that it names, or to a new session."""
        name = Request(scope).headers.get(MCP_SESSION_ID_HEADER)
        if name is not None:
            transport = self._transports.get(name)
            if transport is None:
                await Response("Session not found", 404)(scope, receive, send)
            else:
                await transport.handle_request(scope, receive, send)
        elif self._is_closed or len(self._tasks) >= _MAX_SESSIONS:
            await Response("Too many sessions", 503)(scope, receive, send)
        else:
            await self._open(scope, receive, send)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Start a session, and let it answer its first request. If that is refused, end it."""
        name = uuid4().hex
        transport = StreamableHTTPServerTransport(name, idle_timeout=self._idle_timeout)
        ready = asyncio.Event()
        task = asyncio.create_task(self._serve(name, transport, ready))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        is_accepted = False

        async def watch(message: Message) -> None:
            nonlocal is_accepted
            if message["type"] == "http.response.start":
                is_accepted = message["status"] < 400
            await send(message)

        try:
            await ready.wait()
            await transport.handle_request(scope, receive, watch)
        finally:
            if not is_accepted:
                with anyio.CancelScope(shield=True):
                    await cancel([task])

    async def _serve(
        self, name: str, transport: StreamableHTTPServerTransport, ready: asyncio.Event
    ) -> None:
        """Serve a session until it ends."""
        async with ClientSession(self._limits, self._allowances) as session:
            server = make_server(session)
            self._transports[name] = transport
            try:
                async with transport.connect() as (read, write):
                    ready.set()
                    assert transport.idle_scope is not None  # noqa: S101 - set by `connect`
                    with transport.idle_scope:
                        await server.run(read, write, server.create_initialization_options())
            finally:
                del self._transports[name]
                with anyio.CancelScope(shield=True):
                    await transport.terminate()


class _Guard:
    """Admits only requests that contain the token and name this server."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        names = [f"{host}:{port}" for host in (HOST, "localhost")]
        # Without these checks, a web page whose host name leads to 127.0.0.1 could send requests.
        self._security = TransportSecurityMiddleware(
            TransportSecuritySettings(
                allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names]
            )
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        given = request.headers.get("authorization", "").encode()
        # Check the token first, so that no other program can make the SDK log its refusals.
        if hmac.compare_digest(given, self._expected):
            refusal = await self._security.validate_request(request)
        else:
            refusal = Response("Wrong token", 401, {"WWW-Authenticate": "Bearer"})
        if refusal is None and request.url.path != PATH:
            refusal = Response("Not found", 404)
        await (refusal or self._app)(scope, receive, send)


class _Uvicorn(uvicorn.Server):
    """A server that leaves signals alone, because `microvm` handles them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(port: int) -> socket.socket:
    """Return a socket that listens on a port of this host; 0 chooses a free port.

    :raises MicroVMError: If the port cannot be used.
    """
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        raise MicroVMError(f"cannot listen on {HOST}:{port}: {error.strerror}") from None


async def serve(
    limits: ServerLimits, listening: socket.socket, token: str, idle_timeout: float
) -> None:
    """Serve clients that connect to a listening socket, until this task is cancelled."""
    sessions = Sessions(limits, idle_timeout)
    app = RequestBodyLimitMiddleware(sessions, MAX_MESSAGE)
    config = uvicorn.Config(
        _Guard(app, token, listening.getsockname()[1]),
        lifespan="off",
        log_config=None,
        log_level="critical",
        timeout_graceful_shutdown=_MAX_SHUTDOWN,
    )
    server = _Uvicorn(config)
    serving = asyncio.create_task(server.serve([listening]))
    try:
        await asyncio.shield(serving)
    finally:
        # End the sessions first, because uvicorn waits until all requests have been answered.
        server.should_exit = True
        try:
            await sessions.close()
        finally:
            await wait_ended([serving])
