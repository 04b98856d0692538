"""Test of the example server: FastAPI under uvicorn with uvloop, one machine per request."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
from tests.support.processes import children

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/server"
REQUESTS, AT_A_TIME = 100, 8
DEADLINE = 600.0


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a running server. No machine of it may remain."""
    options = ["--loop", "uvloop", "--port", "0", "--no-access-log"]
    with subprocess.Popen(
        [sys.executable, "-B", "-W", "error", "-m", "uvicorn", "app:app", *options],
        cwd=EXAMPLE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr
            said = ""
            while not (port := re.search(r"running on http://127\.0\.0\.1:(\d+)", said)):
                line = process.stderr.readline()
                assert line, said
                said += line
            yield int(port[1])
            left = children(process.pid)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=DEADLINE)
            assert "Application shutdown complete" in said
            assert left
            assert not any(Path(f"/proc/{pid}").exists() for pid in left)
        finally:
            process.kill()


def post(port: int, script: str) -> tuple[int, dict[str, object]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("POST", "/run", script.encode())
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


@pytest.mark.long
def test_each_of_a_hundred_requests_has_a_machine(server: int) -> None:
    def ask(number: int) -> None:
        script = f"ls /tmp; touch /tmp/{number}; echo {number}; exit {number % 3}"
        said = {"status": number % 3, "stdout": f"{number}\n", "stderr": ""}
        assert post(server, script) == (200, said)

    with ThreadPoolExecutor(AT_A_TIME) as executor:
        list(executor.map(ask, range(REQUESTS)))
    status, said = post(server, "yes")
    assert (status, "wrote more than" in str(said)) == (422, True)
    assert post(server, "#" * (2 << 20))[0] == 413


def test_page_shows_the_code_of_the_example() -> None:
    page, example = (ROOT / "docs/loops.md").read_text(), (EXAMPLE / "app.py").read_text()
    shown = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == 2
    assert all(code in example for code in shown)
