"""A server of the examples, as a process that must leave no machine when it is stopped."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

from tests.support.processes import children

DEADLINE = 600.0  # for an answer; the first one may have to build an image


@contextmanager
def serving(folder: Path, *options: str, module: str = "app") -> Iterator[int]:
    """Run uvicorn with a module of a folder, and give its port."""
    with subprocess.Popen(
        [
            sys.executable,
            "-B",
            "-W",
            "error",
            "-m",
            "uvicorn",
            f"{module}:app",
            "--port",
            "0",
            *options,
        ],
        cwd=folder,
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


@contextmanager
def requested(
    port: int, method: str, path: str, body: bytes | None = None, **headers: str
) -> Iterator[HTTPResponse]:
    """Send a request to a server, and give the response."""
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request(method, path, body, headers)
        yield connection.getresponse()
    finally:
        connection.close()
