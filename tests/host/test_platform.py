"""Tests of the platform module, and of an imitated macOS, without a machine."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.captured import captured

from microvm.errors import MicroVMError
from microvm.system import platform

ROOT = Path(__file__).parents[2]

#: Imports all names of the library, and all commands.
IMPORTS = """
import importlib, pkgutil
from tests.support.macos import imitate
imitate()
import microvm, microvm.cli.verbs
for name in microvm.__all__:
    getattr(microvm, name)
for found in pkgutil.iter_modules(microvm.cli.verbs.__path__, "microvm.cli.verbs."):
    importlib.import_module(found.name)
"""

CALLS: dict[str, Callable[[], object]] = {
    "memfd_create": lambda: platform.memory_file("a file"),
    "F_ADD_SEALS": lambda: platform.seal(0),
    "posix_fallocate": lambda: platform.reserve(0, 1),
    "pidfd_open": lambda: platform.open_process(os.getpid()),
    "pidfd_send_signal": lambda: platform.kill_process(0),
    "prlimit": lambda: platform.limits(os.getpid(), 1),
    "waitid": lambda: platform.is_stopped_child(1),
    "SO_PEERCRED": lambda: platform.peer(None),  # type: ignore[arg-type]
    "MSG_CMSG_CLOEXEC": platform.receiving_flags,
    "POLLRDHUP": platform.hangup_event,
    "CLOCK_BOOTTIME": platform.since_boot,
}


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")


def on_macos(*command: str, **variables: str) -> str:
    """Run Python on an imitated macOS, and return its output."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables}
    done = captured([sys.executable, *command], cwd=ROOT, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("macos")
@pytest.mark.parametrize("feature", platform.FEATURES, ids=lambda each: each.name)
def test_error_names_what_is_missing_the_system_and_a_next_step(feature: platform.Feature) -> None:
    with pytest.raises(MicroVMError) as caught:
        platform.require(feature)
    assert caught.value.message.startswith(f"{feature.failed} on this host, because macOS lacks ")
    assert caught.value.message.endswith(feature.needs)
    assert "host that runs Linux" in caught.value.hint


@pytest.mark.usefixtures("macos")
@pytest.mark.parametrize("name", CALLS)
def test_missing_function_is_named(name: str) -> None:
    with pytest.raises(OSError, match=f"macOS lacks {name}") as caught:
        CALLS[name]()
    assert caught.value.errno == errno.ENOSYS


def test_library_and_commands_can_be_imported_on_macos() -> None:
    assert on_macos("-c", IMPORTS) == ""


def test_folders_on_macos(tmp_path: Path) -> None:
    command = ("-m", "tests.support.macos", "microvm", "cache", "path")
    said = on_macos(*command, HOME=str(tmp_path))
    assert said == f"{tmp_path}/Library/Caches/microvm\n"
    code = (
        "from tests.support.macos import imitate; imitate();"
        "from microvm.supervisor.runtime_directory import location; print(*location())"
    )
    said = on_macos("-c", code, HOME=str(tmp_path), TMPDIR=f"{tmp_path}/")
    assert said.strip() == f"{tmp_path}/microvm-{os.geteuid()}"
