"""Fixtures with two builds of the daemon: the shipped one, and one with sanitizers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.support.carry import Carry, Run, decoded, encoded
from tests.support.daemon import Daemon, sanitized_daemon
from tests.support.fifo import Fifo
from tests.support.judged import judge, trace_model
from tests.support.made_once import made_once

from microvm import arches, cache
from microvm.progress import NullReporter
from microvm.wire import files
from microvm_image import programs

__all__ = ("judge", "trace_model")


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run each coroutine with asyncio and with uvloop."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The daemon as the image builder compiles it. The other programs are beside it."""

    def build(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cache, "root", lambda: folder)
            files = programs.build(arches.find(), NullReporter()).files
        for name, data in files.items():
            (folder / name).write_bytes(data)
            (folder / name).chmod(0o755)

    return made_once(tmp_path_factory, "shipped", build) / "sandboxd"


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The daemon, compiled with ASan and UBSan."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return sanitized_daemon(tmp_path_factory)


@pytest.fixture
def binary(request: pytest.FixtureRequest) -> Path:
    """The daemon with sanitizers, or the build that the decorator of a test names."""
    path: Path = request.getfixturevalue(getattr(request, "param", "sanitized"))
    return path


@pytest.fixture
def launch(binary: Path) -> Iterator[Callable[..., Daemon]]:
    """A function that starts a daemon. The daemon must exit successfully afterwards."""
    with ExitStack() as stack:

        def start(**options: Any) -> Daemon:
            return stack.enter_context(closing(Daemon(binary, **options)))

        yield start


@pytest.fixture
def daemon_process(launch: Callable[..., Daemon]) -> Daemon:
    """A daemon that has received no hello."""
    return launch()


@pytest.fixture
def sandboxd(daemon_process: Daemon) -> Daemon:
    """A daemon that is ready."""
    daemon_process.hello()
    return daemon_process


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    made = Fifo(tmp_path / "fifo")
    yield made
    made.close()


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[Fifo]:
    """A second named pipe, for the other direction."""
    made = Fifo(tmp_path / "answer")
    yield made
    made.close()


@pytest.fixture
def run(binary: Path) -> Run:
    """A function that runs carry with bytes as its input."""

    def run(sent: bytes, digest: int = files.DIGEST) -> subprocess.CompletedProcess[bytes]:
        command = [str(binary.with_name("carry")), f"{digest:016x}"]
        done = subprocess.run(command, input=sent, capture_output=True, check=False, timeout=60)
        assert done.stderr == b""
        return done

    return run


@pytest.fixture
def carry(run: Run) -> Carry:
    """A function that sends messages to carry, which must succeed, and returns the answers."""

    def exchange(*messages: files.Message) -> list[files.Message]:
        done = run(encoded(*messages))
        assert done.returncode == 0
        return decoded(done.stdout)

    return exchange
