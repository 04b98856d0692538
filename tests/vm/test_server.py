"""Test of the example server: FastAPI under uvicorn with uvloop, one machine per request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.example_server import requested, serving

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/server"
REQUESTS, AT_A_TIME = 100, 8


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a running server."""
    with serving(EXAMPLE, "--loop", "uvloop", "--no-access-log") as port:
        yield port


def post(port: int, script: str) -> tuple[int, dict[str, object]]:
    with requested(port, "POST", "/run", script.encode()) as response:
        return response.status, json.loads(response.read())


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
