"""Tests of a real QEMU into which a debugger injects the system calls of an attacker."""

from __future__ import annotations

import errno
import functools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.confinement.attacker import UIDS
from tests.confinement.scene import AttackScene, ordinary, scene
from tests.support.ordinary import as_user, only_root
from tests.support.processes import children, open_files, status

from microvm.images import Image

pytestmark = [
    pytest.mark.thorough,
    only_root,  # who may trace it across the namespaces
    pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers and registers are x86-64's"),
    pytest.mark.skipif(sys.platform != "linux", reason="the confinement is Linux's"),
]

Call = tuple[str | int, ...]
Inject = Callable[[int, Sequence[Call]], list[int]]

REFUSED = {-errno.EPERM, -errno.EACCES, -errno.ENOENT, -errno.ENOSYS}
_BUFFER = "=" + 64 * "x"


@pytest.fixture(scope="module")
def inject(tmp_path_factory: pytest.TempPathFactory) -> Inject:
    """A function that runs the compiled injecting program."""
    program = tmp_path_factory.mktemp("inject") / "inject"
    source = Path(__file__).with_name("inject.c")
    flags = "-std=c11 -O1 -Wall -Wextra -Werror".split()
    subprocess.run(["gcc", *flags, "-o", program, source], check=True)
    return functools.partial(injected, program)


def injected(program: Path, pid: int, calls: Sequence[Call]) -> list[int]:
    """Make a process issue system calls, and return the result of each."""
    lines = "".join("\t".join(map(str, call)) + "\n" for call in calls)
    said = subprocess.run(
        [str(program), str(pid)],
        check=True,
        input=lines,
        stdout=subprocess.PIPE,
        text=True,
        timeout=20,
    ).stdout
    return [int(line) for line in said.split()]


def calls_of(place: AttackScene, sibling: int, pid: int) -> dict[str, Call]:
    """Return the calls to try, by description. QEMU's own filter must not kill it for them."""
    secret = f"={place.folder}/secret"
    found: dict[str, Call] = {
        "open a secret": (2, secret, os.O_RDONLY, 0),
        "open a secret to write": (2, secret, os.O_WRONLY, 0),
        "open a new file": (2, f"={place.folder}/new", os.O_CREAT | os.O_WRONLY, 0o600),
        "open its own program to write": (2, "=/proc/self/exe", os.O_RDWR, 0),
        "socket": (41, 1, 1, 0),
        "socketpair": (53, 1, 1, 0, _BUFFER),
        "connect": (42, 0, _BUFFER, 16),
        "bind": (49, 0, _BUFFER, 16),
        "memfd_create": (319, "=x", 0),
        "io_uring_setup": (425, 4, _BUFFER),
        "bpf": (321, 0, _BUFFER, 64),
        "keyctl": (250, 0, -4 & 0xFFFFFFFF, 0),
        "unlink": (87, f"={place.folder}/unlink"),
        "inotify_init1": (294, 0),
        "prctl PR_SET_PDEATHSIG": (157, 1, 0, 0, 0, 0),
        "setrlimit": (160, 1, _BUFFER),
        "fcntl F_SETOWN": (72, 0, 8, place.victim),
        "getsockopt SO_PEERPIDFD": (55, 0, 1, 77, _BUFFER, _BUFFER),
    }
    for name, victim in ("the controller", place.victim), ("a sibling", sibling):
        found |= {
            f"ptrace of {name}": (101, 0x4206, victim, 0, 0),
            f"kill of {name}": (62, victim, 10),
            f"pidfd_open of {name}": (434, victim, 0),
            f"prlimit64 of {name}": (302, victim, 7, _BUFFER, 0),
            f"open /proc/PID/mem of {name}": (2, f"=/proc/{victim}/mem", os.O_RDONLY, 0),
        }
    for descriptor, path in open_files(pid).items():
        if path.startswith("/") and not path.startswith(
            ("/dev/", "/memfd:")
        ):  # these belong to QEMU
            found[f"reopen {descriptor}, {path}"] = (2, f"=/dev/fd/{descriptor}", os.O_RDWR, 0)
            found[f"fchmod {descriptor}, {path}"] = (91, descriptor, 0o666)
    return found


@contextmanager
def image_of(user: int | None, image: Image, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the path of a copy of the image that a user can read; root's own image is private."""
    if user is None:
        yield str(image.path)
        return
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="microvm-user-") as name:
        path = Path(name, "image")
        shutil.copytree(image.path, path)
        for each in (path.parent, path, *path.iterdir()):
            os.chown(each, user, user)
        monkeypatch.setenv("MICROVM_CACHE", f"{name}/cache")
        yield str(path)


@contextmanager
def machine(place: AttackScene, *options: str) -> Iterator[tuple[int, Callable[[], None]]]:
    """Run `cat` in a machine of the scene's user.

    Yield the pid of QEMU and a check of the machine.
    """
    command = [sys.executable, "-m", "microvm", "run", *options, "--", "cat"]
    with subprocess.Popen(
        command if place.user is None else as_user(*command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def goes_on() -> None:
            stdin.write(b"hello\n")
            assert stdout.readline() == b"hello\n"

        goes_on()
        [qemu] = children(process.pid)
        yield qemu, goes_on
        stdin.close()
    assert process.returncode == 0


@pytest.mark.parametrize("root", [False, True], ids=["user", "root"])
def test_injected_code_fails_in_a_running_qemu(
    root: bool, image: Image, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = None if root else ordinary()
    with (
        image_of(user, image, monkeypatch) as path,
        scene(user) as place,
        machine(place, "--image", path) as (sibling, _),
        machine(place, "--image", path) as (qemu, goes_on),
    ):
        place.mark()
        calls = calls_of(place, sibling, qemu)
        assert len(calls) >= 30
        results = dict(zip(calls, inject(qemu, [*calls.values()]), strict=True))
        assert {name: r for name, r in results.items() if r not in REFUSED} == {}
        goes_on()
        assert place.harm() == []
        assert_confined(qemu, root)
        if root:
            uids = [int(status(pid)["Uid"].split()[0]) for pid in (qemu, sibling)]
            assert uids == [UIDS + qemu, UIDS + sibling]


def test_injected_code_succeeds_without_confinement(
    image: Image, inject: Inject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the test with confinement would prove nothing."""
    user = ordinary()
    with (
        image_of(user, image, monkeypatch) as path,
        scene(user) as place,
        machine(place, "--image", path, "--confinement", "off") as (qemu, goes_on),
    ):
        calls = calls_of(place, place.victim, qemu)
        open_to_all = ["open a secret", "socket", "memfd_create", "kill of the controller"]
        assert all(result >= 0 for result in inject(qemu, [calls[name] for name in open_to_all]))
        goes_on()


def assert_confined(pid: int, root: bool) -> None:
    """Check the confinement of a process as the kernel reports it."""
    said = status(pid)
    assert (said["NoNewPrivs"], said["Seccomp"], said["Seccomp_filters"]) == ("1", "2", "2")
    assert {said[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    folder = Path(f"/proc/{pid}")
    names = {line.partition(b"=")[0] for line in (folder / "environ").read_bytes().split(b"\0")}
    assert names == {b"PATH", b"LC_ALL", b""}
    assert "Max core file size        1" in (folder / "limits").read_text()
    same = {
        name.name
        for name in (folder / "ns").iterdir()
        if name.readlink() == Path("/proc/self/ns", name.name).readlink()
    }
    assert not same & {"pid", "net", "ipc", "uts", "mnt"}
    assert ("user" in same) == root
