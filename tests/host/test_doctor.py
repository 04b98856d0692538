"""Tests of `microvm doctor`: each fault is caused, and must be found.

The tests of faults that only a machine can find are in tests/vm/test_doctor.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shlex
import shutil
import site
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support import examples
from tests.support.busy_device import busy_device
from tests.support.captured import captured
from tests.support.ordinary import USER, acting_as_user, as_user, only_root
from tests.support.small_disk import small_disk

from microvm import arches, guest_pack
from microvm.cli.checks import cache, host, image, kvm, machine, qemu
from microvm.cli.checks.check import NOT_TRIED, CheckResult, EarlierResults, HostCheck, HostFault
from microvm.cli.checks.runner import BROKEN, CHECKS, ENDLESS, FAULTS, run
from microvm.cli.verbs.doctor import doctor
from microvm.errors import ImageError
from microvm.qemu import accel, kvm_failure, launch
from microvm.qemu.confinement import launcher_options
from microvm.system import capacity, platform

BY_A_MACHINE = {machine.NO_HELLO}
WITHOUT_A_COMMAND = {host.NO_GUESTS, image.NO_APT, NOT_TRIED}
COMMANDS = set(
    "export unset ulimit sudo apt chmod chgrp usermod echo env microvm ps uptime".split()
)

PER_LINUX32 = 0x0008  # <linux/personality.h>


class DoctorScene:
    """A host with a fault, which is undone afterwards."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, undo: ExitStack) -> None:
        self.folder = folder
        self.patch = patch
        self.undo = undo
        self._cache = os.environ.get("MICROVM_CACHE")
        patch.setenv("MICROVM_CACHE", str(folder / "cache"))
        for name in ("MICROVM_KERNEL", "MICROVM_ROOTFS", "MICROVM_MIRROR"):
            patch.delenv(name, raising=False)

    def programs(self, *names: str, **scripts: str) -> None:
        """Make PATH contain only these programs: real ones, and shell scripts."""
        folder = self.folder / "bin"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name) or "/nonexistent")
        for name, script in scripts.items():
            path = folder / name.replace("_", "-").replace("x86-64", "x86_64")
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        self.patch.setenv("PATH", str(folder))

    def with_our_cache(self) -> None:
        """Use the cache of the tests, in which everything is compiled."""
        self.patch.delenv("MICROVM_CACHE")
        if self._cache is not None:
            self.patch.setenv("MICROVM_CACHE", self._cache)

    def limit(self, kind: int, soft: int) -> None:
        """Lower a resource limit of this process for a while."""
        before = resource.getrlimit(kind)
        resource.setrlimit(kind, (soft, before[1]))
        self.undo.callback(resource.setrlimit, kind, before)

    def as_user(self) -> None:
        """Act as an unprivileged user for a while."""
        self.undo.enter_context(acting_as_user())

    def disk(self, size: str) -> None:
        """Mount a small file system on the folder of the cache."""
        self.undo.enter_context(small_disk(self.folder / "cache", size))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[DoctorScene]:
    # Not in the folder of pytest, because no other user may enter it.
    with (
        tempfile.TemporaryDirectory(prefix="microvm-test-", dir="/tmp") as name,
        ExitStack() as undo,
    ):
        Path(name).chmod(0o755)
        yield DoctorScene(Path(name), monkeypatch, undo)


def _wrong_pack(scene: DoctorScene) -> None:
    folder = scene.folder / guest_pack.module(arches.find())
    folder.mkdir()
    (folder / "__init__.py").touch()
    manifest = {"version": "0.0.1", "schema": "0" * 16, "parts": {}}
    (folder / guest_pack.MANIFEST).write_text(json.dumps(manifest))
    scene.patch.setattr(site, "getsitepackages", lambda: [str(scene.folder)])


def _other_processor(scene: DoctorScene) -> None:
    libc = ctypes.CDLL(None)
    before = libc.personality(PER_LINUX32)
    scene.undo.callback(libc.personality, before)
    if os.uname().machine in {"x86_64", "aarch64"}:
        pytest.skip("this processor runs no 32-bit programs")


def _small_cgroup(scene: DoctorScene) -> None:
    (scene.folder / "self").mkdir()
    (scene.folder / "self/cgroup").write_text("0::/inner\n")
    (scene.folder / "inner").mkdir()
    (scene.folder / "inner/memory.max").write_text(f"{255 << 20}\n")
    scene.patch.setattr(platform, "PROC", str(scene.folder))
    scene.patch.setattr(capacity, "_CGROUPS", scene.folder)


def _few_processes(scene: DoctorScene) -> None:
    scene.limit(resource.RLIMIT_NPROC, 60)
    scene.as_user()


def _wrong_file(scene: DoctorScene) -> None:
    (scene.folder / "pyproject.toml").write_text("[tool.microvm]\nmemroy = 1\n")
    scene.patch.chdir(scene.folder)
    scene.patch.delenv("MICROVM_NO_CONFIG", raising=False)


def _runtime_folder_of_another(scene: DoctorScene) -> None:
    scene.patch.setenv("XDG_RUNTIME_DIR", str(scene.folder))
    (scene.folder / "microvm").mkdir(mode=0o755)


def _qemu(script: str) -> Callable[[DoctorScene], None]:
    name = f"qemu-system-{os.uname().machine}"
    return lambda scene: scene.programs(**{name: script})


def _denied_qemu(scene: DoctorScene) -> None:
    scene.programs(f"qemu-system-{os.uname().machine}")
    scene.folder.chmod(0o700)
    scene.as_user()


def _make_alone(scene: DoctorScene) -> None:
    scene.programs("make")
    scene.patch.setattr("microvm.system.compiler.find_spec", lambda _: None)


def _fewer_layers(scene: DoctorScene) -> None:
    def without(*args: object, **more: object) -> list[str]:
        made = launcher_options(*args, **more)  # type: ignore[arg-type]
        return [*made, "--without", "landlock", "--without", "mount"]

    scene.patch.setattr(launch, "launcher_options", without)
    scene.with_our_cache()


def _cache_of_all(scene: DoctorScene) -> None:
    (scene.folder / "cache").mkdir()
    (scene.folder / "cache").chmod(0o777)


def _cache_of_root(scene: DoctorScene) -> None:
    (scene.folder / "cache").mkdir(mode=0o755)
    (scene.folder / "cache").chmod(0o555)
    scene.as_user()


def _kernel(named: str) -> Callable[[DoctorScene], None]:
    return lambda scene: scene.patch.setenv("MICROVM_KERNEL", named)


def _kvm(name: str, mode: int | None = None) -> Callable[[DoctorScene], None]:
    def make(scene: DoctorScene) -> None:
        path = scene.folder / name
        if mode is not None:
            path.touch()
            path.chmod(mode)
        scene.patch.setattr(accel, "KVM", path)
        scene.as_user()

    return make


def _busy_kvm(scene: DoctorScene) -> None:
    path = scene.undo.enter_context(busy_device())
    scene.patch.setattr(accel, "KVM", path)
    scene.as_user()


# The faults, and the function that causes each.
CAUSES: dict[HostFault, Callable[[DoctorScene], None]] = {
    host.NO_MODULES: lambda scene: scene.patch.setitem(sys.modules, "platformdirs", None),
    host.NO_GUESTS: _other_processor,
    host.TOO_SMALL: _small_cgroup,
    host.FEW_FILES: lambda scene: scene.limit(resource.RLIMIT_NOFILE, 23),
    host.FEW_ADDRESSES: lambda scene: scene.limit(resource.RLIMIT_AS, (256 + 1535) << 20),
    host.FEW_PROCESSES: _few_processes,
    host.WRONG_PRESET: _wrong_file,
    host.NO_RUNTIME: _runtime_folder_of_another,
    qemu.NO_QEMU: DoctorScene.programs,
    qemu.DENIED_QEMU: _denied_qemu,
    qemu.NO_VERSION: _qemu("exit 1"),
    qemu.OLD_QEMU: _qemu("echo QEMU emulator version 7.1.50 '(Debian)'"),
    qemu.NO_COMPILER: _make_alone,
    qemu.NOT_COMPILED: lambda scene: scene.programs("make", musl_gcc="exit 1"),
    qemu.WRONG_PACK: _wrong_pack,
    qemu.NOT_CONFINED: _fewer_layers,
    kvm.fault_of(kvm_failure.ABSENT): _kvm("gone"),
    kvm.fault_of(kvm_failure.FORBIDDEN): _kvm("kvm", 0),
    kvm.fault_of(kvm_failure.BUSY): _busy_kvm,
    kvm.NOT_WORKING: _kvm("kvm", 0o666),
    cache.UNTRUSTED: _cache_of_all,
    cache.UNUSABLE: lambda scene: scene.patch.setenv("MICROVM_CACHE", "/dev/null/cache"),
    cache.READ_ONLY: _cache_of_root,
    cache.FULL: lambda scene: scene.disk("1m"),
    image.NO_KERNEL: _kernel("/nonexistent"),
    image.NO_APT: DoctorScene.programs,
    image.SLOW_KERNEL: _kernel("debian"),
    image.NO_ROOTFS: lambda scene: scene.patch.setenv("MICROVM_ROOTFS", "/nonexistent"),
    image.NO_TOOLS: DoctorScene.programs,
}


@pytest.mark.skipif(sys.platform != "linux", reason="what is wrong is wrong with Linux")
@pytest.mark.parametrize(
    "fault", CAUSES, ids=lambda fault: re.sub(r"\W+", "-", fault.text.replace("{", ""))[:50]
)
def test_each_fault_of_a_host_is_found(fault: HostFault, scene: DoctorScene) -> None:
    CAUSES[fault](scene)
    [check] = [check for check in CHECKS if fault in check.faults]
    finding = check.run(EarlierResults())
    scene.undo.close()
    scene.patch.undo()
    assert fault.matches(finding), finding
    assert finding.status == fault.status
    assert "{" not in finding.text + finding.fix + finding.hint
    if fault in WITHOUT_A_COMMAND:
        assert (finding.fix, finding.hint) == ("", fault.hint)
    else:
        assert _is_command(finding.fix), finding


def _is_command(text: str) -> bool:
    """Return True if a shell can run this text as a command with arguments."""
    words = shlex.split(text)
    known = words[0] in COMMANDS or Path(words[0]).name.startswith("python")
    read = subprocess.run(["sh", "-n", "-c", text], capture_output=True, check=False)
    return known and len(words) > (words[0] != "uptime") and not read.stderr


def test_there_is_nothing_else_to_be_found() -> None:
    declared = [fault for check in CHECKS for fault in check.faults]
    assert {*declared} == CAUSES.keys() | BY_A_MACHINE
    assert {*FAULTS} == {NOT_TRIED, ENDLESS, BROKEN}
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_required_confinement_that_is_missing_is_a_failure(scene: DoctorScene) -> None:
    scene.patch.setenv("MICROVM_CONFINEMENT", "require")
    _fewer_layers(scene)
    finding = qemu.check_confinement(EarlierResults())
    assert qemu.NOT_CONFINED.matches(finding)
    assert finding.status == "failed"


def test_a_check_that_breaks_or_does_not_end_is_one_that_failed() -> None:
    forever = threading.Event()

    def hangs(_: EarlierResults) -> CheckResult:
        forever.wait()
        return CheckResult("ok", "")

    def breaks(_: EarlierResults) -> CheckResult:
        raise OSError(5, "Input/output error", "/x")

    def refuses(_: EarlierResults) -> CheckResult:
        raise ImageError("it is wrong", hint="mend it")

    def looks(context: EarlierResults) -> CheckResult:
        return CheckResult("ok", " ".join(context.failed))

    checks = [
        HostCheck("hangs", "", hangs, (), within=0.05),
        HostCheck("breaks", "", breaks, ()),
        HostCheck("refuses", "", refuses, ()),
        HostCheck("looks", "", looks, (), after=("else",)),
        HostCheck("waits", "", looks, (), after=("looks", "refuses")),
        HostCheck("waits too", "", looks, (), after=("waits",)),
    ]
    found = [finding for _, finding in run(checks)]
    forever.set()
    assert [each.status for each in found] == [*["failed"] * 3, "ok", *["skipped"] * 2]
    assert ENDLESS.matches(found[0])
    assert found[1].text == "OSError: [Errno 5] Input/output error: '/x'"
    assert found[2] == CheckResult("failed", "it is wrong", BROKEN.fix, "mend it")
    assert found[3].text == "hangs breaks refuses"
    assert found[4:] == [NOT_TRIED.result(failed=each) for each in ("refuses", "waits")]


def test_doctor_works_on_a_crippled_host() -> None:
    """No QEMU, no home, no cache, no space, no /proc, no /dev/shm, few files, and not root."""
    hide = "mount -t tmpfs none /dev/shm; mount -t tmpfs none /proc; "
    user = " ".join(as_user(sys.executable, "-P", "-m", "microvm", "doctor", "--json"))
    script = f"ulimit -n 20; export PATH=/nonexistent; exec {user}"
    command = ["/bin/sh", "-c", script]
    if os.geteuid() == 0:
        command = ["unshare", "-m", "/bin/sh", "-c", f"{hide}{script}"]
    environment = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "PATH": os.environ["PATH"]}
    with tempfile.TemporaryDirectory(prefix="microvm-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        done = captured(command, cwd=folder, env=environment)
    assert (done.returncode, done.stderr) == (1, "")
    said = json.loads(done.stdout)
    shown = json.loads(examples.EXAMPLES["microvm doctor --json"])
    examples.check(shown, said, "doctor")
    assert said["works"] is False
    statuses = {each["check"]: each["status"] for each in said["checks"]}
    assert list(statuses) == [check.name for check in CHECKS]
    assert (statuses["limits"], statuses["qemu"]) == ("failed", "failed")
    assert statuses["machine"] == "skipped"
    assert said["first"] == next(name for name in statuses if statuses[name] == "failed")
    wrong = [each for each in said["checks"] if each["status"] in {"note", "failed"}]
    assert all(each["fix"] or each["hint"] for each in wrong)


def test_one_cause_is_one_failure_and_is_said_last(scene: DoctorScene) -> None:
    (scene.folder / "cache").touch(mode=0o644)
    done = CliRunner().invoke(doctor, [])
    assert done.exit_code == 1
    said, last = done.stdout.split("\n\nFix this first:\n\n")
    failed = [line for line in said.splitlines() if line.startswith("failed")]
    assert [line.split(maxsplit=2)[1:] for line in failed] == [
        ["cache", f"the cache cannot be used: {scene.folder}/cache is not a folder"]
    ]
    assert last.splitlines()[0] == failed[0]
    assert last.splitlines()[1].strip() == "unset MICROVM_CACHE"
    skipped = "skipped  machine      not tried, because another check failed: cache"
    assert skipped in said.splitlines()


@pytest.mark.parametrize(
    ("arch", "flags", "fix", "hint"),
    [
        ("x86_64", "fpu svm", "sudo modprobe kvm_amd", ""),
        ("x86_64", "fpu vmx", "sudo modprobe kvm_intel", ""),
        ("x86_64", "fpu", "export MICROVM_ACCEL=tcg", "enable virtualization in the firmware"),
        ("aarch64", "fp svm", "export MICROVM_ACCEL=tcg", "hypervisor mode (EL2)"),
    ],
)
def test_absent_kvm_depends_on_the_processor(
    scene: DoctorScene, arch: str, flags: str, fix: str, hint: str
) -> None:
    scene.patch.setattr(kvm, "_DEVICE", scene.folder / "kvm")
    scene.patch.setattr(platform, "machine", lambda: arch)
    scene.patch.setattr(platform, "proc", {"cpuinfo": f"flags : {flags}\n"}.__getitem__)
    _kvm("gone")(scene)
    found = kvm.check_kvm(EarlierResults())
    assert found.fix == fix
    assert hint in found.hint
    scene.patch.setattr(kvm, "_DEVICE", scene.folder)  # it exists
    assert "`--device" in kvm.check_kvm(EarlierResults()).hint


@only_root
def test_a_cache_of_another_is_left_to_its_owner(scene: DoctorScene) -> None:
    (scene.folder / "cache").mkdir(mode=0o755)
    os.chown(scene.folder / "cache", USER, USER)
    finding = cache.check_cache(EarlierResults())
    assert cache.UNTRUSTED.matches(finding)
    assert (finding.status, finding.fix) == ("failed", "unset MICROVM_CACHE")
