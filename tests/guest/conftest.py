"""Two builds of the daemon: the one that ships, and one under the sanitizers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon, build_sanitized
from tests.support.fifo import Fifo

from microvm import arches, cache
from microvm.progress import NullReporter
from microvm_image import programs


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the programs as the image builder does it; the others are beside the daemon."""
    folder = tmp_path_factory.mktemp("shipped")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "root", lambda: folder)
        files = programs.build(arches.find(), NullReporter()).files
    for name, data in files.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o755)
    return folder / "sandboxd"


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the same with ASan and UBSan."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return build_sanitized(tmp_path_factory.mktemp("sanitized"))


@pytest.fixture(params=["shipped", "sanitized"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Each build of the daemon in turn."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def launch(binary: Path) -> Iterator[Callable[..., Daemon]]:
    """Give a function that starts a daemon; it is stopped, and must end well."""
    with ExitStack() as stack:

        def start(**options: Any) -> Daemon:
            return stack.enter_context(closing(Daemon(binary, **options)))

        yield start


@pytest.fixture
def daemon_process(launch: Callable[..., Daemon]) -> Daemon:
    """Give a daemon that has not been greeted."""
    return launch()


@pytest.fixture
def sandboxd(daemon_process: Daemon) -> Daemon:
    """Give a daemon that is ready."""
    daemon_process.hello()
    return daemon_process


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Fifo]:
    """Give a named pipe."""
    made = Fifo(tmp_path / "fifo")
    yield made
    made.close()


@pytest.fixture
def answer(tmp_path: Path) -> Iterator[Fifo]:
    """Give another named pipe, for the way back."""
    made = Fifo(tmp_path / "answer")
    yield made
    made.close()
