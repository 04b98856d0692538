"""Tests of failures to clone that are not the template's fault, so that it is used again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.parameters import accelerator
from tests.support.processes import children
from tests.vm.conftest import Misbehave
from tests.vm.test_template import run_arguments, start

from microvm import BootError, QemuError
from microvm.images import Image
from microvm.qemu.accel import ProbeCache
from microvm.qemu.launch import find_qemu
from microvm.start import template, warmup

pytestmark = pytest.mark.thorough

TO_THE_ERROR = 15.0
"""Maximum number of seconds until a stopped QEMU results in an error."""


async def _start(image: Image) -> tuple[bool, list[str]]:
    return await start(image, confinement="off")  # so that QEMU can be replaced


def _identity(cache: Path) -> tuple[int, int]:
    """Return values that change when a template is saved again."""
    (ram,) = (cache / "templates").glob("[!.]*/ram")
    return ram.stat().st_ino, ram.stat().st_ctime_ns


def _age(cache: Path, seconds: float) -> None:
    (result,) = cache.glob("clone-*")
    os.utime(result, (time.time() - seconds,) * 2)


def _nothing_remembered(cache: Path) -> bool:
    return not list(cache.glob("clone-*"))


@pytest.mark.parametrize(
    ("limit", "there"), [("-f 10", True), ("-f 10", False), ("-v 300000", True)]
)
async def test_limit_of_one_process_keeps_the_template(
    image: Image, cache: Path, limit: str, there: bool
) -> None:
    """A template is kept though neither a clone nor a boot works under this limit."""
    if there:
        await _start(image)
        before = _identity(cache)
    command = f"ulimit {limit}; exec {sys.executable} -m microvm {' '.join(run_arguments(image))}"
    limited = await asyncio.create_subprocess_exec("sh", "-c", command, stderr=subprocess.PIPE)
    _, said = await limited.communicate()
    if limit == "-f 10":
        assert limited.returncode == 0
        (line,) = said.splitlines()
        assert line.endswith(b"; booting instead")
    assert _nothing_remembered(cache)
    assert await _start(image) == (True, [])
    if there:
        assert _identity(cache) == before


async def test_guest_that_reboots_before_it_is_saved(
    image: Image, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as rebooting:
        rebooting.setattr(warmup, "_COMMANDS", ((["reboot", "-f"], {}),))
        cloned, (line,) = await _start(image)
    assert not cloned
    assert line == "no template can be saved: the guest rebooted or powered off; booting instead"
    assert _nothing_remembered(cache)
    assert await _start(image) == (True, [])


async def test_inability_to_clone_is_forgotten_after_a_day(
    image: Image, cache: Path, misbehave: Misbehave
) -> None:
    misbehave("clones && exit 1")
    cloned, (line,) = await _start(image)
    assert not cloned
    assert "cannot clone guests" in line
    misbehave("")
    assert await _start(image) == (False, [])
    _age(cache, 25 * 3600)
    assert await _start(image) == (True, [])


async def test_refused_template_may_be_replaced_meanwhile(
    image: Image, cache: Path, misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process saves the template again before this start does."""
    await _start(image)
    refused = _identity(cache)
    replaced: list[tuple[int, int]] = []
    locked = template.locked

    def late(name: str, *rest: Any) -> Any:
        kept = template.STORE.manifest(name)
        with template.STORE.opened(name) as memory:
            assert kept is not None
            assert memory is not None
            template.save(memory, name=name, origin=kept.origin, copied=memory.copied)
        replaced.append(_identity(cache))
        misbehave("")
        return locked(name, *rest)

    monkeypatch.setattr(template, "locked", late)
    misbehave("clones && exit 1")
    cloned, (line,) = await _start(image)
    assert cloned
    assert line.endswith("making it again")
    assert replaced == [_identity(cache)]
    assert replaced != [refused]


async def test_inability_to_clone_is_read_again_under_the_lock(
    image: Image, cache: Path, misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While this start waits for the lock, another start finds that QEMU cannot save a guest."""
    folder = misbehave("")
    misbehave(f"saves && {{ echo >>{folder}/saves; exit 1; }}")
    locked = template.locked

    def late(name: str, *rest: Any) -> Any:
        made = ProbeCache(cache, find_qemu(image.manifest.arch), f"clone-{accelerator()}")
        made.remember(works=False)
        return locked(name, *rest)

    monkeypatch.setattr(template, "locked", late)
    cloned, (line,) = await _start(image)
    assert not cloned
    assert line.endswith("cannot clone guests; booting instead")
    assert not (folder / "saves").exists()


def _is_another_program(pid: int) -> bool:
    """Return True if a child has executed its program. Until then, it blocks its parent."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/exe").readlink() != Path("/proc/self/exe").readlink()
    return False


@pytest.mark.alone
@pytest.mark.parametrize("moment", [0.0, 0.01])
async def test_stopped_qemu_fails_when_its_replacement_is_stopped_too(
    image: Image, moment: float
) -> None:
    await _start(image)
    over = threading.Event()
    others = set(children(os.getpid()))  # among them the shared machine

    def stop() -> None:
        seen: dict[int, float] = {}
        while not over.wait(0.005):
            started = set(children(os.getpid())) - others
            for child in filter(_is_another_program, started):
                if time.monotonic() - seen.setdefault(child, time.monotonic()) >= moment:
                    os.kill(child, signal.SIGSTOP)

    stopping = threading.Thread(target=stop)
    stopping.start()
    begun = time.monotonic()
    try:
        with pytest.raises((QemuError, BootError), match="QEMU was stopped by a signal"):
            await _start(image)
    finally:
        over.set()
        stopping.join()
    assert time.monotonic() - begun < TO_THE_ERROR
