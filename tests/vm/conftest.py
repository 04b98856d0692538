"""Fixtures with a real guest of the default image: a shared machine, and the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from fuzz.model.traces import TraceModel
from pytest_asyncio import is_async_test
from tests.spec_client import SpecHost
from tests.support.changed_image import changed_image
from tests.support.judged import expect_runs, judge, trace_model
from tests.support.machine import RunningGuest
from tests.support.parameters import PATIENCE
from tests.support.python_image import python_image
from tests.support.recording import recordings
from tests.support.target import build, target
from tests.support.traced_channel import traced_channels

from microvm import MicroVM
from microvm import cache as caches
from microvm.errors import ImageError
from microvm.images import INITRAMFS, Image
from microvm.machine.commands import CommandMethods
from microvm.progress import LineReporter
from microvm.qemu import launcher
from microvm_image.kernel import small

__all__ = ("judge", "trace_model")

DEADLINE = 120.0 * PATIENCE
LONG_DEADLINE = 3000.0 * PATIENCE


@pytest.fixture(scope="session", autouse=True)
def _default_image(image: Image) -> Image:
    """The default image, which all tests of this folder need, and which is built before them."""
    return image


@pytest.fixture(scope="session")
def _all_faults() -> Iterator[list[str]]:
    with traced_channels() as faults:
        yield faults


@pytest.fixture(autouse=True)
def _conversations(_all_faults: list[str]) -> Iterator[None]:
    """Fail a test in which a message between this process and a guest was not in order."""
    yield
    faults = _all_faults[:]
    _all_faults.clear()
    assert not faults


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with the small kernel, which is compiled now if the cache lacks it."""
    try:
        small.check_tools(target())
    except ImageError as error:
        pytest.skip(str(error))
    path = small.build(arch=target().name, report=LineReporter())
    return build(kernel=path, output=tmp_path_factory.mktemp("image") / "small")


@pytest.fixture(scope="session")
def with_python(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image with the host's own Python."""
    return python_image(tmp_path_factory.mktemp("python"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache for one test that contains only the launcher. The image is in another cache."""
    programs = tmp_path / "cache" / "programs"
    programs.mkdir(parents=True)
    shutil.copy2(launcher.find(), programs)
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def copied_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of a module's own, with the downloads, images and programs of the shared cache.

    The module's tests may expect that no other process adds to this cache, and that all that they
    leave in it is removed.
    """
    own = tmp_path_factory.mktemp("own") / "cache"
    caches.make(own)
    # An unfinished build of another process may contain devices such as /dev/full, whose copy would
    # fill the disk.
    unfinished = shutil.ignore_patterns(".*")
    for name in ("defaults", "downloads", "images", "kernels", "programs"):
        if (caches.root() / name).exists():
            shutil.copytree(caches.root() / name, own / name, symlinks=True, ignore=unfinished)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROVM_CACHE", str(own))
        yield
        caches.clear(own)


@pytest.fixture
def unbootable(image: Image, tmp_path: Path) -> Path:
    """An image with a valid manifest whose initramfs consists of zeros, so it cannot boot."""
    zeros = bytes(image.manifest.initramfs_size)
    return changed_image(image, tmp_path / "broken", {INITRAMFS: zeros}).path


def pytest_itemcollected(item: pytest.Item) -> None:
    """Run all coroutines of this folder in one event loop, so that they can share a machine."""
    if is_async_test(item):
        item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
        long = item.get_closest_marker("long")
        item.add_marker(pytest.mark.deadline(LONG_DEADLINE if long else DEADLINE))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def vm(
    image: Image, trace_model: TraceModel, _all_faults: list[str]
) -> AsyncIterator[MicroVM]:
    """A running machine that the tests share. Each test leaves it as it was.

    The tests of many modules continue its conversation, which is judged after all tests.
    """
    async with AsyncExitStack() as stack:
        with recordings() as found:
            machine = await stack.enter_async_context(MicroVM(image))
        yield machine
    assert found
    expect_runs(trace_model, found)


@pytest.fixture(scope="module")
def machine(image: Image) -> Iterator[RunningGuest]:
    """A guest that has received no hello."""
    machine = RunningGuest(image)
    yield machine
    machine.close()


@pytest.fixture
def host(machine: RunningGuest, request: pytest.FixtureRequest) -> SpecHost:
    """A host that has begun a session.

    A failed test may have left an incomplete frame in the stream, which 6 MB of filler complete.
    The emulated guest takes as long to read the filler as most tests take, so it is sent only then.
    """
    host = SpecHost(machine.stream, deadline=machine.deadline)
    host.greet(fill=request.session.testsfailed > 0)
    return host


Misbehave = Callable[[str], Path]


@pytest.fixture
def misbehave(monkeypatch: pytest.MonkeyPatch, image: Image) -> Iterator[Misbehave]:
    """Return a function that lets every QEMU run a shell script before it starts.

    The function takes the script, "" for none, and returns the folder of the replacement. In the
    script, the functions `clones` and `saves` tell the purpose of QEMU, and `$real` is the path of
    QEMU. A confined QEMU could not run the script, so these machines have `confinement="off"`.
    """
    folder = Path(tempfile.mkdtemp(prefix="microvm-test-", dir="/tmp"))
    folder.chmod(0o777)  # QEMU may run as another user
    name = f"qemu-system-{image.manifest.arch}"
    real = shutil.which(name)
    hook, wrapper = folder / "hook", folder / name
    hook.touch()
    wrapper.write_text(
        f'#!/bin/sh\nall="$*" real={real}\n'
        'clones() { case "$all" in *-incoming*) ;; *) false ;; esac; }\n'
        'saves() { case "$all" in *share=on*) ;; *) false ;; esac; }\n'
        f'. {hook}\nexec $real "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def instead(script: str) -> Path:
        hook.write_text(script)
        return folder

    yield instead
    shutil.rmtree(folder)


async def processes(vm: CommandMethods, words: str) -> list[str]:
    """Return the pids of the guest's processes whose user or command line contains this text.

    The result lacks processes with a pending SIGKILL. Such a process executes no more code, but
    `ps` lists it until the scheduler lets it exit. The function uses `ps`, because some images lack
    pgrep.
    """
    # Find processes with a pending SIGKILL: bit 8 of the masks in /proc/PID/status (see proc(5)).
    killed = "grep -l 'Pnd:.*[13579bdf]..$' /proc/[0-9]*/status 2>/dev/null"
    script = f"{killed}; exec ps -o pid,user,args"
    listed = (await vm.run(["sh", "-c", script], text=True, check=True)).stdout.splitlines()
    dying = {line.split("/")[2] for line in listed if line.startswith("/proc/")}
    pids = [line.split()[0] for line in listed if words in line and not line.startswith("/proc/")]
    return [pid for pid in pids if pid not in dying]


async def kill(vm: MicroVM, words: str) -> None:
    """Kill the processes whose command line contains this text; at least one must exist."""
    pids = await processes(vm, words)
    assert pids
    await vm.run(["kill", "-9", *pids], check=True)


Command = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def microvm() -> Command:
    """Return a function that runs the command `microvm` and captures its output."""

    def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[bytes]:
        settings: dict[str, object] = {"capture_output": True, "timeout": DEADLINE, **options}
        command = [sys.executable, "-m", "microvm", *arguments]
        return subprocess.run(command, check=False, **settings)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="module")
def _runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests of a module a runtime folder of their own, for named machines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
        yield


Begin = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Return a function that starts `microvm exec` with a script, and ends it after the test.

    The function waits for the first line of the output, which must be `says`, if that is given.
    """
    begun = []

    def start(name: str, script: str, *options: str, says: bytes = b"") -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "microvm", "exec", *options, name, "--", "sh", "-c"]
        child = subprocess.Popen([*command, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        begun.append(child)
        assert child.stdout
        assert not says or child.stdout.readline() == says
        return child

    yield start
    for child in begun:
        child.kill()
        child.communicate()
