"""Tests of `microvm doctor`: each thing that it can find wrong is made so, and found.

What takes a machine to be found is in tests/vm/test_doctor.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.support import examples
from tests.support.ordinary import acting_as_user, as_user
from tests.support.small_disk import small_disk

from microvm import capacity
from microvm.cli.checks import cache, host, image, machine, qemu
from microvm.cli.checks.check import Check, Context, Fault, Finding
from microvm.cli.checks.run import BROKEN, ENDLESS, FAULTS, NOT_TRIED, run
from microvm.cli.checks.table import CHECKS
from microvm.errors import ImageError
from microvm.qemu import accel, launch
from microvm.qemu.confinement import launcher_options

ROOT = Path(__file__).parents[2]
BY_A_MACHINE = {qemu.DEADLY, machine.NO_HELLO}

PER_LINUX32 = 0x0008  # <linux/personality.h>


class Scene:
    """A host on which something is wrong; undone in the end."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, undo: ExitStack) -> None:
        self.folder = folder
        self.patch = patch
        self.undo = undo
        self._cache = os.environ.get("MICROVM_CACHE")
        patch.setenv("MICROVM_CACHE", str(folder / "cache"))
        for name in ("MICROVM_KERNEL", "MICROVM_ROOTFS", "MICROVM_MIRROR"):
            patch.delenv(name, raising=False)

    def programs(self, *names: str, **scripts: str) -> None:
        """Have these programs in PATH alone: those that there are, and lines of shell."""
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
        """Have the cache that there is, in which all is compiled."""
        self.patch.delenv("MICROVM_CACHE")
        if self._cache is not None:
            self.patch.setenv("MICROVM_CACHE", self._cache)

    def limit(self, kind: int, soft: int) -> None:
        """Lower a limit of ours for a while."""
        before = resource.getrlimit(kind)
        resource.setrlimit(kind, (soft, before[1]))
        self.undo.callback(resource.setrlimit, kind, before)

    def as_user(self) -> None:
        """Be an ordinary user for a while."""
        self.undo.enter_context(acting_as_user())

    def disk(self, size: str) -> None:
        """Have a small disk for the cache."""
        self.undo.enter_context(small_disk(self.folder / "cache", size))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    # Not in pytest's folder, which no other user may enter.
    folder = Path(tempfile.mkdtemp(prefix="microvm-test-", dir="/tmp"))
    folder.chmod(0o755)
    with ExitStack() as undo:
        yield Scene(folder, monkeypatch, undo)
    shutil.rmtree(folder)


def _no_modules(scene: Scene) -> None:
    scene.patch.setitem(sys.modules, "platformdirs", None)


def _other_processor(scene: Scene) -> None:
    libc = ctypes.CDLL(None)
    before = libc.personality(PER_LINUX32)
    scene.undo.callback(libc.personality, before)
    if os.uname().machine in {"x86_64", "aarch64"}:
        pytest.skip("this processor runs no 32-bit programs")


def _other_system(scene: Scene) -> None:
    scene.patch.setattr(sys, "platform", "darwin")


def _small_cgroup(scene: Scene) -> None:
    (scene.folder / "self").mkdir()
    (scene.folder / "self/cgroup").write_text("0::/inner\n")
    (scene.folder / "inner").mkdir()
    (scene.folder / "inner/memory.max").write_text(f"{255 << 20}\n")
    scene.patch.setattr(capacity, "_PROC", scene.folder)
    scene.patch.setattr(capacity, "_CGROUPS", scene.folder)


def _memory_taken(scene: Scene) -> None:
    (scene.folder / "meminfo").write_text("MemTotal: 1 kB\nMemAvailable:  262143 kB\n")
    scene.patch.setattr(host, "_MEMINFO", scene.folder / "meminfo")


def _too_few_files(scene: Scene) -> None:
    scene.limit(resource.RLIMIT_NOFILE, 23)


def _few_files(scene: Scene) -> None:
    scene.limit(resource.RLIMIT_NOFILE, 24)


def _few_addresses(scene: Scene) -> None:
    scene.limit(resource.RLIMIT_AS, (256 + 1535) << 20)


def _short_files(scene: Scene) -> None:
    scene.limit(resource.RLIMIT_FSIZE, 256 << 20)


def _few_processes(scene: Scene) -> None:
    scene.limit(resource.RLIMIT_NPROC, 60)
    scene.as_user()


def _wrong_file(scene: Scene) -> None:
    (scene.folder / "pyproject.toml").write_text("[tool.microvm]\nmemroy = 1\n")
    scene.patch.chdir(scene.folder)
    scene.patch.delenv("MICROVM_NO_CONFIG", raising=False)


def _wrong_variable(scene: Scene) -> None:
    scene.patch.setenv("MICROVM_MEMORY", "much")


def _runtime_folder_of_another(scene: Scene) -> None:
    scene.patch.setenv("XDG_RUNTIME_DIR", str(scene.folder))
    (scene.folder / "microvm").mkdir(mode=0o755)


def _no_programs(scene: Scene) -> None:
    scene.programs()


def _qemu(script: str) -> Callable[[Scene], None]:
    name = f"qemu-system-{os.uname().machine}"
    return lambda scene: scene.programs(**{name: script})


def _make_alone(scene: Scene) -> None:
    scene.programs("make")
    scene.patch.setattr("microvm.compiler.find_spec", lambda _: None)


def _compiler_alone(scene: Scene) -> None:
    scene.programs(musl_gcc="exit 1")


def _broken_compiler(scene: Scene) -> None:
    scene.programs("make", musl_gcc="exit 1")


def _fewer_layers(scene: Scene) -> None:
    def without(*args: object, **more: object) -> list[str]:
        made = launcher_options(*args, **more)  # type: ignore[arg-type]
        return [*made, "--without", "landlock", "--without", "mount"]

    scene.patch.setattr(launch, "launcher_options", without)
    scene.with_our_cache()


def _cache_of_all(scene: Scene) -> None:
    (scene.folder / "cache").mkdir()
    (scene.folder / "cache").chmod(0o777)


def _cache_behind_a_device(scene: Scene) -> None:
    scene.patch.setenv("MICROVM_CACHE", "/dev/null/cache")


def _no_home(scene: Scene) -> None:
    for name in ("HOME", "MICROVM_CACHE", "XDG_CACHE_HOME"):
        scene.patch.delenv(name, raising=False)
    scene.patch.setattr("pwd.getpwuid", dict[int, object]().__getitem__)  # nobody has an entry


def _folder_of_root(scene: Scene) -> None:
    scene.folder.chmod(0o555)
    scene.as_user()


def _cache_of_root(scene: Scene) -> None:
    (scene.folder / "cache").mkdir(mode=0o755)
    (scene.folder / "cache").chmod(0o555)
    scene.as_user()


def _full(scene: Scene) -> None:
    scene.disk("1m")


def _nearly_full(scene: Scene) -> None:
    scene.disk("512m")


def _kernel(named: str) -> Callable[[Scene], None]:
    return lambda scene: scene.patch.setenv("MICROVM_KERNEL", named)


def _rootfs_that_is_gone(scene: Scene) -> None:
    scene.patch.setenv("MICROVM_ROOTFS", str(scene.folder / "gone"))


def _nothing(_: Scene) -> None:
    """Leave everything as it is, with a cache in which there is nothing."""


def _kvm(name: str, mode: int | None = None) -> Callable[[Scene], None]:
    def make(scene: Scene) -> None:
        path = scene.folder / name
        if mode is not None:
            path.touch()
            path.chmod(mode)
        scene.patch.setattr(accel, "KVM", path)
        scene.as_user()

    return make


def _promising_kvm(scene: Scene) -> None:
    scene.patch.setattr(accel, "obstacle", lambda _: None)


CASES: dict[Fault, tuple[Check, Callable[[Scene], None]]] = {
    fault: (next(check for check in CHECKS if fault in check.faults), make)
    for fault, make in {
        host.NO_MODULES: _no_modules,
        host.NO_GUESTS: _other_processor,
        host.NOT_LINUX: _other_system,
        host.TOO_SMALL: _small_cgroup,
        host.NOT_NOW: _memory_taken,
        host.NO_FILES: _too_few_files,
        host.FEW_FILES: _few_files,
        host.FEW_ADDRESSES: _few_addresses,
        host.SHORT_FILES: _short_files,
        host.FEW_PROCESSES: _few_processes,
        host.WRONG_DEFAULTS: _wrong_file,
        host.WRONG_VARIABLE: _wrong_variable,
        host.NO_FOLDER: _runtime_folder_of_another,
        qemu.NO_QEMU: _no_programs,
        qemu.NO_VERSION: _qemu("exit 1"),
        qemu.OLD_QEMU: _qemu("echo QEMU emulator version 7.1.50 '(Debian)'"),
        qemu.NO_COMPILER: _make_alone,
        qemu.NO_MAKE: _compiler_alone,
        qemu.NOT_COMPILED: _broken_compiler,
        qemu.NOT_CONFINED: _fewer_layers,
        qemu.NO_CONFINEMENT: _no_programs,
        qemu.ABSENT: _kvm("gone"),
        qemu.FORBIDDEN: _kvm("kvm", 0o600),
        qemu.UNUSABLE: _kvm("kvm", 0o666),
        qemu.UNPROVED: _promising_kvm,
        cache.UNTRUSTED: _cache_of_all,
        cache.UNREADABLE: _cache_behind_a_device,
        cache.NO_HOME: _no_home,
        cache.NOT_TO_BE_MADE: _folder_of_root,
        cache.READ_ONLY: _cache_of_root,
        cache.FULL: _full,
        cache.NEARLY_FULL: _nearly_full,
        image.NO_KERNEL: _kernel("/nonexistent"),
        image.NO_SMALL: _kernel("small"),
        image.NO_APT: _no_programs,
        image.SLOW_KERNEL: _kernel("debian"),
        image.NO_ROOTFS: _rootfs_that_is_gone,
        image.NOT_BUILT: _nothing,
        image.NO_TOOLS: _no_programs,
    }.items()
}


@pytest.mark.skipif(sys.platform != "linux", reason="what is wrong is wrong with Linux")
@pytest.mark.parametrize(
    "fault", CASES, ids=lambda fault: re.sub(r"\W+", "-", fault.text.replace("{", ""))[:50]
)
def test_what_is_wrong_is_found(fault: Fault, scene: Scene) -> None:
    check, make = CASES[fault]
    context = Context(["another"] if fault is qemu.UNPROVED else [])
    make(scene)
    finding = check.run(context)
    scene.undo.close()
    assert fault.is_in(finding), finding
    assert finding.status == fault.status
    assert finding.mend
    assert "{" not in finding.text + finding.mend


def test_there_is_nothing_else_to_be_found() -> None:
    declared = [fault for check in CHECKS for fault in check.faults]
    assert {*declared} == CASES.keys() | BY_A_MACHINE
    assert {*FAULTS} == {NOT_TRIED, ENDLESS, BROKEN}
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_what_says_nothing_is_not_waited_for(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    _qemu("exec sleep 60")(scene)
    (scene.folder / "bin/sleep").symlink_to(shutil.which("sleep", path=os.defpath) or "")
    monkeypatch.setattr(qemu, "_TIMEOUT", 0.1)
    finding = qemu.qemu(Context())
    assert qemu.NO_VERSION.is_in(finding)
    assert "nothing within" in finding.text


def test_what_was_compiled_works_without_a_compiler(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("microvm.qemu.launcher.is_ready", lambda: True)
    _make_alone(scene)
    assert qemu.compiled(Context()).status == "note"


def test_a_folder_for_named_machines_that_cannot_be_made(scene: Scene) -> None:
    scene.patch.setenv("XDG_RUNTIME_DIR", "")
    scene.patch.setenv("TMPDIR", str(scene.folder / "gone"))
    finding = host.runtime(Context())
    assert host.NO_FOLDER.is_in(finding)
    assert finding.text.endswith("/gone cannot be written, or is not there")


def test_what_is_required_and_missing_has_failed(scene: Scene) -> None:
    scene.patch.setenv("MICROVM_CONFINEMENT", "require")
    _fewer_layers(scene)
    finding = qemu.confinement(Context())
    assert qemu.NOT_CONFINED.is_in(finding)
    assert finding.status == "failed"


def test_each_package_that_an_error_names_is_one_of_a_tool() -> None:
    named = {
        package
        for part in ("host/microvm", "image")
        for path in (ROOT / part).rglob("*.py")
        if "checks" not in path.parts
        for package in re.findall(r'hint="apt install ([\w-]+)', path.read_text())
    }
    assert named - {"make", "musl-tools", "coreutils"} <= {name for name, _ in image.TOOLS.values()}


def test_a_check_that_breaks_or_does_not_end_is_one_that_failed() -> None:
    forever = threading.Event()

    def hangs(_: Context) -> Finding:
        forever.wait()
        return Finding("ok", "")

    def breaks(_: Context) -> Finding:
        raise OSError(5, "Input/output error", "/x")

    def refuses(_: Context) -> Finding:
        raise ImageError("it is wrong", hint="mend it")

    def looks(context: Context) -> Finding:
        return Finding("ok", " ".join(context.failed))

    checks = [
        Check("hangs", "", hangs, (), within=0.05),
        Check("breaks", "", breaks, ()),
        Check("refuses", "", refuses, ()),
        Check("looks", "", looks, (), after=("else",)),
        Check("waits", "", looks, (), after=("looks", "refuses")),
    ]
    found = [finding for _, finding in run(checks)]
    forever.set()
    assert [each.status for each in found] == ["failed", "failed", "failed", "ok", "failed"]
    assert ENDLESS.is_in(found[0])
    assert found[1].text == "OSError: [Errno 5] Input/output error: '/x'"
    assert (found[2].text, found[2].mend) == ("it is wrong", "mend it")
    assert found[3].text == "hangs breaks refuses"
    assert found[4] == NOT_TRIED.found(failed="refuses")


@contextmanager
def _barren() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="microvm-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_it_works_where_nearly_nothing_does() -> None:
    """No QEMU, no home, no cache, no room, no /proc, no /dev/shm, few files, and not root."""
    hide = "mount -t tmpfs none /dev/shm; mount -t tmpfs none /proc; "
    user = " ".join(as_user(sys.executable, "-P", "-m", "microvm", "doctor", "--json"))
    script = f"ulimit -n 20; export PATH=/nonexistent; exec {user}"
    command = ["/bin/sh", "-c", script]
    if os.geteuid() == 0:
        command = ["unshare", "-m", "/bin/sh", "-c", f"{hide}{script}"]
    environment = {"HOME": "/nonexistent", "TMPDIR": "/nonexistent", "PATH": os.environ["PATH"]}
    with _barren() as folder:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "")
    said = json.loads(done.stdout)
    shown = json.loads(examples.EXAMPLES["microvm doctor --json"])
    examples.check(shown, said, "doctor")
    assert said["works"] is False
    statuses = {each["check"]: each["status"] for each in said["checks"]}
    assert list(statuses) == [check.name for check in CHECKS]
    assert {"limits", "qemu", "machine"} <= {
        name for name, status in statuses.items() if status == "failed"
    }
    assert all(each.keys() == {"check", "status", "text", "mend"} for each in said["checks"])
    assert all(each["mend"] for each in said["checks"] if each["status"] != "ok")
