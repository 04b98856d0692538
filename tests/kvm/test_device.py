"""Tests of a real /dev/kvm that is absent, forbidden, busy, or broken, also after it had worked."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.kvm.image import FOLDER, MODULES
from tests.support.ordinary import USER, acting_as_user, as_user

from microvm import MicroVM, arches
from microvm import cache as caches
from microvm.cache import readers
from microvm.cli.checks import kvm as check
from microvm.cli.checks.check import EarlierResults
from microvm.concurrency.threads import in_thread
from microvm.errors import QemuError
from microvm.images import Image
from microvm.qemu import accel, kvm_failure
from microvm.qemu.kvm_failure import KvmFailure
from microvm.start.accelerator import AcceleratorChoice

ARCH = arches.find().name

MEMORY = "96M"

MSR_EFER, EFER_SVME = 0xC0000080, 1 << 12
"""The register of an AMD processor that enables SVM, and its bit: set by another hypervisor."""


def shell(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True)


def unload() -> None:
    """Unload the module `kvm_amd`, if it is loaded, and `kvm`. This fails if a VM is open."""
    shell("! grep -q ^kvm_amd /proc/modules || rmmod kvm_amd; rmmod kvm")


def forget() -> None:
    """Remove the cache's records: which notices were printed, and whether KVM works."""
    shell('find "$MICROVM_CACHE" -maxdepth 1 -type f -delete')


def load(*options: str) -> None:
    """Load KVM's modules, with these options for the module `kvm`."""
    _, common, vendor = (f"{FOLDER}/{name}.ko.xz" for name in MODULES)
    shell(f"insmod {common} {' '.join(options)}; insmod {vendor}; chgrp kvm /dev/kvm")
    Path("/dev/kvm").chmod(0o660)


def set_svme(enabled: bool) -> None:
    """Enable or disable SVM on each processor, as another hypervisor does that uses it."""
    for register in Path("/dev/cpu").glob("*/msr"):
        with register.open("r+b", buffering=0) as file:
            [value] = struct.unpack("<Q", os.pread(file.fileno(), 8, MSR_EFER))
            value = value | EFER_SVME if enabled else value & ~EFER_SVME
            os.pwrite(file.fileno(), struct.pack("<Q", value), MSR_EFER)


@dataclass(frozen=True, slots=True)
class State:
    """A state of /dev/kvm: a shell script that causes it, and the failure that microvm reports."""

    script: str
    failure: KvmFailure
    why: str
    is_user: bool = False


# Move the device, and do not create it again: the kernel later removes only a device of its own.
REMOVE = "mv /dev/kvm /dev/kvm-kept"
RESTORE = "if [ -e /dev/kvm-kept ]; then mv -f /dev/kvm-kept /dev/kvm; fi; chmod 660 /dev/kvm"
REPLACE = f"{REMOVE}; mknod -m 660 /dev/kvm c"
ANOTHER = f"{REPLACE} 1 3"  # /dev/null
STATES = {
    "removed": State(REMOVE, kvm_failure.ABSENT, "/dev/kvm: No such file or directory"),
    "without its driver": State(
        f"{REPLACE} 10 250",
        kvm_failure.ABSENT,
        "/dev/kvm: No such device",
    ),
    "forbidden": State("", kvm_failure.FORBIDDEN, "/dev/kvm: Permission denied", is_user=True),
    "only for root": State(
        "chmod 600 /dev/kvm", kvm_failure.FORBIDDEN, "/dev/kvm: Permission denied", is_user=True
    ),
    "another device": State(
        ANOTHER,
        kvm_failure.REFUSED,
        "/dev/kvm cannot create a virtual machine: Inappropriate ioctl for device",
    ),
}


@pytest.fixture(scope="module")
def templates(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a template of an emulated guest, whose boot takes a minute or two here."""
    cache = tmp_path_factory.mktemp("cache")
    command = [sys.executable, "-m", "microvm", "template", "make", str(image.path)]
    options = ["--memory", MEMORY, "--accel", "tcg"]
    environment = {**os.environ, "MICROVM_CACHE": str(cache)}
    subprocess.run([*command, *options], env=environment, check=True)
    return cache / "templates"


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, templates: Path) -> Iterator[None]:
    """Give each test a cache that knows nothing about KVM, in a folder that all users can enter."""
    with tempfile.TemporaryDirectory(prefix="microvm-test-", dir="/tmp") as folder:
        monkeypatch.setenv("MICROVM_CACHE", folder)
        shutil.copytree(templates, Path(folder, "templates"), copy_function=os.link)
        yield


@pytest.fixture
def device() -> Iterator[None]:
    """Restore the device after the test, which may have replaced it."""
    yield
    shell(RESTORE)


@pytest.fixture
def other_hypervisor() -> Iterator[None]:
    """Let something else than KVM use SVM, as another hypervisor does."""
    unload()
    shell(f"insmod {FOLDER}/msr.ko.xz")
    load("enable_virt_at_load=0")
    set_svme(enabled=True)
    yield
    set_svme(enabled=False)
    unload()
    shell("rmmod msr")
    load()


@pytest.fixture
def _unloaded() -> Iterator[None]:
    unload()
    yield
    load()


def check_reports(failure: KvmFailure, why: str, *, is_user: bool = False) -> None:
    """Check the notice of a start, the error of `--accel kvm`, and what `doctor` says."""
    told: list[str] = []
    if is_user:
        os.chown(os.environ["MICROVM_CACHE"], USER, USER)
    with acting_as_user() if is_user else nullcontext():
        choice = AcceleratorChoice("auto", ARCH, told.append)
        assert choice.candidates == ("tcg",)
        choice.explain()
        obstacle = accel.obstacle(ARCH)
        with pytest.raises(QemuError, match="KVM cannot be used: ") as caught:
            AcceleratorChoice("kvm", ARCH, told.append)
        finding = check.check_kvm(EarlierResults())
    assert caught.value.message == f"KVM cannot be used: {why}"
    assert obstacle is not None
    assert (obstacle.failure, obstacle.why) == (failure, why)
    notice = accel.fallback_notice(failure.line(why), obstacle.hint)
    assert told == ([notice] if failure.told else [])
    assert "\n" not in notice
    assert check.fault_of(failure).matches(finding), finding
    assert (finding.status, bool(finding.fix)) == ("note", True)


async def check_fallback(image: Image, failure: KvmFailure) -> None:
    """Check that a machine starts under emulation, with a notice if `failure.told` is True."""
    told: list[str] = []
    async with MicroVM(image, memory=MEMORY, notify=told.append) as vm:
        assert (vm.accel, vm.cloned, len(told)) == ("tcg", True, int(failure.told))
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"


def check_fallback_of_user(image: Image, failure: KvmFailure, why: str) -> None:
    """Check the same for an ordinary user, who starts from the cache that root shares."""
    cache = Path(os.environ["MICROVM_CACHE"])
    (cache / readers.MARK).touch()
    shutil.copytree(image.path, caches.folder("images") / image.name)
    subprocess.run(["chmod", "-R", "a+rX", cache], check=True)
    options = ["--image", image.name, "--memory", MEMORY]
    done = subprocess.run(
        as_user(sys.executable, "-m", "microvm", "run", *options, "--", "echo", "hello"),
        env={**os.environ, "HOME": "/nonexistent"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "hello\n", done.stderr
    assert failure.line(why) in done.stderr


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("name", STATES)
async def test_state_of_the_device_is_reported(image: Image, name: str) -> None:
    state = STATES[name]
    shell(state.script)
    if state.is_user:
        check_fallback_of_user(image, state.failure, state.why)
    else:
        await check_fallback(image, state.failure)
    forget()
    check_reports(state.failure, state.why, is_user=state.is_user)


@pytest.mark.usefixtures("_unloaded")
def test_unloaded_module_is_reported_with_its_command() -> None:
    check_reports(kvm_failure.ABSENT, "/dev/kvm: No such file or directory")
    assert check.check_kvm(EarlierResults()).fix == "modprobe kvm_amd"  # root needs no sudo


@pytest.mark.usefixtures("other_hypervisor")
async def test_processor_in_use_by_another_hypervisor_is_reported(image: Image) -> None:
    await check_fallback(image, kvm_failure.BUSY)
    forget()
    why = "/dev/kvm cannot create a virtual machine: Input/output error"
    check_reports(kvm_failure.BUSY, why)


@pytest.mark.usefixtures("device")
def test_command_with_kvm_fails_in_one_line_without_a_device(image: Image) -> None:
    shell(REMOVE)
    command = [sys.executable, "-m", "microvm", "run", "--accel", "kvm", "--image", str(image.path)]
    done = subprocess.run([*command, "--", "true"], capture_output=True, text=True, check=False)
    assert done.returncode == 125
    reason = "KVM cannot be used: /dev/kvm: No such file or directory"
    assert done.stderr == f"microvm: {reason} (use --accel tcg, which emulates the processor)\n"


@pytest.mark.usefixtures("device")
async def test_device_that_breaks_after_it_has_worked(
    image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running machine continues, emulation is chosen for new ones, and later KVM again."""
    monkeypatch.setenv("MICROVM_IMAGE", str(image.path))  # for the doctor
    async with MicroVM(image) as vm:
        assert vm.accel == "kvm"
        shell(ANOTHER)
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
        state = STATES["another device"]
        await check_fallback(image, state.failure)
        found = await in_thread(check.check_kvm, EarlierResults())
        assert check.fault_of(state.failure).matches(found), found
        forget()
        check_reports(state.failure, state.why)
        assert "1" in (await vm.run(["sh", "-c", "echo $((2 - 1))"], text=True)).stdout
    shell(RESTORE)
    async with MicroVM(image) as vm:
        assert vm.accel == "kvm"
    # Now KVM is known to work, so the doctor waits as long as this slow host needs.
    found = await in_thread(check.check_kvm, EarlierResults())
    assert found.status == "ok", found
