"""Tests of the options `--publish` and `--reverse`, and of `microvm port`."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.polling import eventually
from tests.vm.conftest import Command

PORT = 7000
SERVE = f"nc -lk -p {PORT} -e cat"
ASK = f"echo hello | nc 127.0.0.1 {PORT + 1}"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use an empty runtime folder."""
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setenv("XDG_RUNTIME_DIR", path)
        yield


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    """Start a server of this host that answers in capital letters. Yield its address for `-R`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as client:
                        client.settimeout(60)  # so that a silent client cannot block `join`
                        client.sendall(client.recv(100).upper())

        thread = threading.Thread(target=serve)
        thread.start()
        yield "localhost:%d" % server.getsockname()[1]  # noqa: UP031
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def answer(port: int) -> bytes:
    """Return the answer of a server; empty if the server does not listen yet."""
    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 60) as client:
        client.sendall(b"hello")
        return client.recv(5)
    return b""


def test_command_reaches_a_server_of_the_host(microvm: Command, target: str) -> None:
    run = microvm("run", "-R", f"{PORT + 1}:{target}", "--", "sh", "-c", ASK)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"HELLO\n", b"")


def test_ports_that_microvm_chooses_are_told(microvm: Command, target: str, tmp_path: Path) -> None:
    run = microvm("run", "--json", "-p", ":80", "-R", f":{target}", "--", "true")
    result = json.loads(run.stdout)
    [published], [reverse] = result["published"], result["reverse"]
    assert published == {"guest": 80, "host": "127.0.0.1", "port": published["port"]}
    assert reverse == {"guest": reverse["guest"], "target": target}
    assert run.stderr.decode().splitlines() == [
        f"microvm: 80/tcp -> 127.0.0.1:{published['port']}",
        f"microvm: {reverse['guest']}/tcp <- {target}",
    ]
    quiet = microvm("run", "-q", "--json", "-p", ":80", "--", "true")
    assert (quiet.returncode, quiet.stderr) == (0, b"")


def test_port_of_a_run_leads_to_its_server() -> None:
    command = [sys.executable, "-m", "microvm", "run", "-p", str(PORT), "--", *SERVE.split()]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        found = re.search(rb"7000/tcp -> 127.0.0.1:(\d+)", run.stderr.readline())
        assert found
        eventually(lambda: answer(int(found[1])) == b"hello")
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == -signal.SIGINT


@pytest.mark.thorough
def test_ports_of_a_named_machine(microvm: Command, target: str) -> None:
    ports = "-p", f":{PORT}", "-R", f"{PORT + 1}:{target}"
    started = microvm("start", "box", *ports, "--commands=1")
    try:
        assert started.stdout == b"box\n"
        port = int(started.stderr.rpartition(b":")[2])
        listed = f"{PORT}/tcp -> 127.0.0.1:{port}\n{PORT + 1}/tcp <- {target}\n"
        assert microvm("port", "box").stdout.decode() == listed
        assert microvm("port", "b", f"{PORT}/tcp").stdout.decode() == f"127.0.0.1:{port}\n"
        assert microvm("exec", "box", "--", "sh", "-c", ASK).stdout == b"HELLO\n"

        assert microvm("exec", "--detach", "box", "--", *SERVE.split()).returncode == 0
        eventually(lambda: answer(port) == b"hello")
        busy = microvm("exec", "box", "true")
        assert b"permits more than 1 at once" in busy.stderr
        [facts] = json.loads(microvm("inspect", "--json", "box").stdout)
        assert facts["max_commands"] == 1
        assert facts["published"] == [{"guest": PORT, "host": "127.0.0.1", "port": port}]
        assert facts["reverse"] == [{"guest": PORT + 1, "target": target}]

        added = microvm("port", "box", "-p", f"{PORT}")
        assert answer(int(added.stdout.rpartition(b":")[2])) == b"hello"
        used = microvm("port", "box", "-p", f"{port}:{PORT}")
        assert used.returncode == 125
        reason = f"cannot listen on 127.0.0.1:{port}: Address already in use"
        assert used.stderr.decode() == f"microvm: {reason}\n"
        assert len(microvm("port", "box").stdout.splitlines()) == 3
        none = microvm("port", "box", "81")
        assert (none.returncode, none.stderr) == (
            125,
            b"microvm: machine box has no published port 81\n",
        )
    finally:
        assert microvm("stop", "box").returncode == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 60)


@pytest.mark.thorough
def test_checkpoint_of_a_machine_with_ports(microvm: Command, target: str) -> None:
    """The ports are open again after the checkpoint, and the snapshot has none."""
    ask = ("sh", "-c", ASK)
    assert microvm("start", "box", "-p", f":{PORT}", "-R", f"{PORT + 1}:{target}").returncode == 0
    try:
        before = microvm("port", "box").stdout
        saved = microvm("checkpoint", "box", "open-ports")
        assert (saved.returncode, saved.stderr) == (0, b"")
        assert microvm("exec", "box", "--", *ask).stdout == b"HELLO\n"
        assert microvm("port", "box").stdout == before
        assert microvm("run", "--from", "open-ports", "--", *ask).stdout == b""
    finally:
        assert microvm("stop", "box").returncode == 0
        assert microvm("snapshot", "rm", "open-ports").returncode == 0


def test_clients_wait_while_a_checkpoint_is_saved(microvm: Command) -> None:
    """Clients connect one after another, before, during and after the checkpoint."""
    listen = f"{SERVE} >/dev/null 2>&1 &"
    started = microvm("start", "box", "-p", f":{PORT}")
    port = int(started.stderr.rpartition(b":")[2])
    answers: list[bytes] = []
    saved = threading.Event()

    def ask_repeatedly() -> None:
        while not saved.is_set():
            answers.append(answer(port))

    try:
        assert microvm("exec", "box", "--", "sh", "-c", listen).returncode == 0
        eventually(lambda: answer(port) == b"hello")
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(ask_repeatedly)
            try:
                checkpoint = microvm("checkpoint", "--wait", "box", "asked")
            finally:
                saved.set()
            asking.result()
        assert (checkpoint.returncode, checkpoint.stderr) == (0, b"")
        assert set(answers) == {b"hello"}
        assert answer(port) == b"hello"
    finally:
        assert microvm("stop", "box").returncode == 0
        assert microvm("snapshot", "rm", "asked").returncode == 0


def test_machine_without_room_for_ports(microvm: Command) -> None:
    assert microvm("start", "box", "--commands", "64").returncode == 0
    try:
        refused = microvm("port", "box", "-p", "80")
        assert refused.returncode == 2
        assert b"run `microvm update box --commands 63` first" in refused.stderr
        assert microvm("port", "box").stdout == b""
        assert microvm("update", "box", "--commands", "63").stdout == b"box\n"
        assert microvm("port", "box", "-p", "80").stdout.startswith(b"80/tcp -> 127.0.0.1:")
    finally:
        assert microvm("stop", "box").returncode == 0
