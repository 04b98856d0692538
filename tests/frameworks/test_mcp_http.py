"""Tests of `microvm mcp` over HTTP: its sessions, its token, and its checks of requests."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from httpx2 import AsyncClient, Response
from tests.frameworks.mcp_server import HEADERS, HttpServer, command, over_http
from tests.support.killing import qemus
from tests.support.polling import comes_true
from tests.support.processes import is_alive

from microvm.cli.mcp.limits import MAX_ARGUMENT, MAX_MESSAGE
from microvm.cli.mcp.token import VARIABLE

ACCEPT = {"Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}


async def post(server: HttpServer, message: object = INITIALIZE, **headers: str) -> Response:
    """Send a message to a server, with these headers instead of right ones; return the answer."""
    async with AsyncClient(timeout=30) as http:
        # Encode the headers, because some of them are not ASCII.
        encoded = {
            name.encode(): value.encode() for name, value in (HEADERS | ACCEPT | headers).items()
        }
        return await http.post(server.url, json=message, headers=encoded)


@asynccontextmanager
async def raw_session(server: HttpServer) -> AsyncIterator[AsyncClient]:
    """Open a session without the SDK's client, which would also listen and delete the session."""
    async with AsyncClient(timeout=60, headers=HEADERS | ACCEPT) as http:
        opened = await http.post(server.url, json=INITIALIZE)
        http.headers["Mcp-Session-Id"] = opened.headers["Mcp-Session-Id"]
        started = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        await http.post(server.url, json=started)
        yield http


def run_command(command_line: str) -> dict[str, object]:
    """Return the message that calls the tool `run_command`."""
    call = {"name": "run_command", "arguments": {"command": command_line}}
    return {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": call}


@pytest.mark.deadline(120)
async def test_sessions_have_machines_of_their_own() -> None:
    with over_http("--max-machines", "3") as server:
        async with server.client() as one:
            async with server.client() as other:
                for caller, word in ((one, "one"), (other, "other")):
                    await caller.call("write_file", path="/srv/word", content=word)
                assert await one.call("start_machine") == "machine-1 has started."
                assert await one.call("read_file", path="/srv/word") == "one"
                assert await other.call("read_file", path="/srv/word") == "other"
                refused = await other.fail("run_command", command="true", machine="machine-1")
                assert "no machine of this name" in refused
                assert "no machine of this name" in await other.fail("stop", name="machine-1")
                assert "the server allows 3 in all sessions" in await other.fail("start_machine")
                assert len(qemus(server.process.pid)) == 3
            # the other client has deleted its session
            await comes_true(lambda: len(qemus(server.process.pid)) == 2)
            assert await one.call("read_file", path="/srv/word") == "one"
        await comes_true(lambda: not qemus(server.process.pid))


@pytest.mark.deadline(120)
async def test_unused_session_ends() -> None:
    with over_http("--idle-timeout", "2s") as server:
        async with raw_session(server) as session:
            answer = await session.post(server.url, json=run_command("sleep 4; echo done"))
            # a session is used while a request of it runs
            assert "done" in answer.text
            await comes_true(lambda: not qemus(server.process.pid))
            late = await session.post(server.url, json=run_command("true"))
            assert late.status_code == 404


async def test_requests_without_token_or_from_web_pages_are_refused() -> None:
    with over_http() as server:
        assert (await post(server)).status_code == 200
        for headers, status in (
            ({"Authorization": ""}, 401),
            ({"Authorization": "Bearer"}, 401),
            ({"Authorization": HEADERS["Authorization"][:-1]}, 401),
            ({"Authorization": HEADERS["Authorization"] + "é"}, 401),
            ({"Host": "evil.example"}, 421),
            ({"Host": "127.0.0.1.evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
            ({"Mcp-Session-Id": "0" * 32}, 404),
            ({"Mcp-Protocol-Version": "2026-07-28"}, 200),
        ):
            assert (await post(server, **headers)).status_code == status, headers
        other = replace(server, url=server.url.replace("/mcp", "/other"))
        assert (await post(other)).status_code == 404
        messages: tuple[object, ...] = ({}, [], {**INITIALIZE, "method": "tools/list"})
        for message in messages:
            assert (await post(server, message)).status_code == 400
        assert (await post(server, {"x": "x" * MAX_MESSAGE})).status_code == 413


async def test_request_cannot_write_to_terminal_of_server() -> None:
    with over_http() as server:
        evil = "\x9b31m\x1b[31m"
        await post(server, Host=f"stranger{evil}", Authorization="")
        await post(server, Host=f"client{evil}")
        log = os.pread(server.errors.fileno(), 4096, 0).decode()
        assert "stranger" not in log
        assert "\\x1b[31m" in log
        assert log.replace("\n", "").isprintable()


async def test_longest_argument_fits_into_a_request() -> None:
    with over_http() as server:
        async with server.client() as caller:
            written = await caller.call("write_file", path="long", content="é" * MAX_ARGUMENT)
            assert written == f"Wrote {2 * MAX_ARGUMENT} bytes."


async def test_sigterm_ends_all_sessions() -> None:
    with over_http() as server:
        async with raw_session(server) as session:
            message = run_command("sleep 1000")
            calling = asyncio.create_task(session.post(server.url, json=message))
            await comes_true(lambda: qemus(server.process.pid))
            [qemu] = qemus(server.process.pid)
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, 30) == 128 + signal.SIGTERM
            assert not is_alive(qemu)
            await asyncio.wait([calling])
            calling.exception()


def run(*options: str, **variables: str) -> str:
    """Run a server that cannot start, and return its error message."""
    environment = {**os.environ, **variables}
    line = command("--http", "0", *options)
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2
    return done.stderr


def test_bad_tokens_are_refused(tmp_path: Path) -> None:
    assert "at least 16" in run(**{VARIABLE: "short"})
    file = tmp_path / "token"
    file.write_text("a-token-of-a-file\n")
    file.chmod(0o644)
    assert "other users can read this token" in run("--token-file", str(file))
    assert "No such file" in run("--token-file", str(tmp_path / "none"))
    file.chmod(0o600)
    file.write_text("x" * 1025)
    assert "at most 1024 characters" in run("--token-file", str(file))
