"""Tests that the machines of a session of `microvm mcp` end with the session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from tests.frameworks.mcp_server import command
from tests.support.killing import qemus
from tests.support.polling import eventually
from tests.support.processes import adopting, is_alive

CALL = {
    "name": "run_command",
    "arguments": {"command": "echo on; sleep 0.1"},
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    },
}


def request(number: int, command: str) -> bytes:
    """Return the message that calls the tool `run_command`."""
    params = {**CALL, "arguments": {"command": command}}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return json.dumps(message).encode() + b"\n"


@pytest.mark.parametrize("ending", ["eof", "eof during a command", "SIGTERM", "SIGINT"])
def test_end_of_session_ends_its_machines(ending: str) -> None:
    with subprocess.Popen(command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(request(1, "echo on"))
        server.stdin.flush()
        assert "on\n" in json.loads(server.stdout.readline())["result"]["content"][0]["text"]
        [qemu] = qemus(server.pid)
        if ending.startswith("SIG"):
            server.send_signal(signal.Signals[ending])
        else:
            if "during" in ending:
                server.stdin.write(request(2, "sleep 1000"))
            server.stdin.close()
        status = server.wait(30)
        assert not is_alive(qemu)
        assert status == {"SIGTERM": 128 + signal.SIGTERM, "SIGINT": -signal.SIGINT}.get(ending, 0)


CLIENT = """
    import os, subprocess, sys
    command, data = sys.argv[2:], sys.argv[1].encode()
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    server.stdin.write(data)
    server.stdin.flush()
    server.stdout.readline()
    print(server.pid, flush=True)
    server.wait()
"""


def test_killed_client_leaves_no_machine() -> None:
    program = [sys.executable, "-c", textwrap.dedent(CLIENT), request(1, "true").decode()]
    with (
        adopting(),
        subprocess.Popen([*program, *command()], stdout=subprocess.PIPE, text=True) as client,
    ):
        assert client.stdout is not None
        server = int(client.stdout.readline())
        [qemu] = qemus(server)
        client.kill()
        client.wait()
        os.waitpid(server, 0)
        eventually(lambda: not is_alive(qemu))
