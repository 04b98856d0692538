"""The attacking program, started in one of three ways, and the results of its attempts."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.confinement.scene import KILLED, AttackScene, identity
from tests.support.ordinary import as_user

DEADLINE = 30.0
UIDS = 0x7C000000

DISK = "DISK"
"""Index of the disk's descriptor among the options of the launcher."""

_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Started:
    """A program that has made its attempts, or was killed during one.

    :ivar pid: pid of the program.
    :ivar controller: pid of the process that started it.
    :ivar said: output of the program.
    :ivar layers: status of each layer, as the launcher reported it; empty without a launcher.
    """

    pid: int
    controller: int
    said: str
    layers: Mapping[str, str] = field(default_factory=dict)


Start = Callable[[Path], AbstractContextManager[Started]]


@dataclass(frozen=True, slots=True)
class Attacker:
    """A program that has made all its attempts, and still runs.

    :ivar results: result of each attempt by its name: `SUCCEEDED`, `KILLED`, an errno, or `nothing`
        if the host lacks the target of the attempt.
    """

    results: Mapping[str, str]
    process: Started


@contextmanager
def attacker(scene: AttackScene, start: Start, **notes: object) -> Iterator[Attacker]:
    """Start the program until it has made all attempts, again each time that one kills it.

    :param notes: additional information for the program, beside that of `scene`.
    """
    results: dict[str, str] = {}
    with ExitStack() as stack:
        while True:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="microvm-")))
            folder.chmod(0o755)
            armed = scene.arm(folder / "qemu-system-x86_64", **{"from": len(results), **notes})
            process = stack.enter_context(start(armed))
            *lines, last = process.said.split("\n")
            for line in lines[:-1]:
                name, _, result = line.partition("\t")
                results[name] = result
            if "done" in lines:
                break
            assert last.endswith("\t"), process
            results[last.rstrip("\t")] = KILLED
        yield Attacker(results, process)


def plainly(scene: AttackScene, *wrapper: str) -> Start:
    """Start the program by itself or through a wrapper, with the descriptors of QEMU."""

    @contextmanager
    def start(program: Path) -> Iterator[Started]:
        with ExitStack() as stack:
            theirs = _descriptors(scene, stack)
            error, process = _spawned([*wrapper, program], theirs, scene.user, stack)
            yield Started(process.pid, os.getpid(), said_by(error))

    return start


def by_launcher(scene: AttackScene, launcher: Path, *options: str) -> Start:
    """Start the program through the launcher, with QEMU's descriptors. Root gets another uid."""

    @contextmanager
    def start(program: Path) -> Iterator[Started]:
        with ExitStack() as stack:
            theirs = _descriptors(scene, stack)
            ours, status = socket.socketpair()
            stack.enter_context(ours).settimeout(DEADLINE)
            command: list[str | Path] = [launcher, "--controller", str(os.getpid())]
            command += ["--status", str(status.fileno()), "--read", program]
            command += ["--file", str(theirs[0])]  # the launcher does not open a disk again
            command += ["--limit", "file-size=1048576", "--limit", "open-files=64"]
            command += ["--limit", "threads=32", "--limit", f"address-space={1 << 30}"]
            if os.geteuid() == 0 and scene.user is None:
                command += ["--uid", str(UIDS)]
            command += [str(theirs[1]) if word == DISK else word for word in options]
            command += ["--", program]
            error, _ = _spawned(command, [*theirs, status.detach()], scene.user, stack)
            pid, layers = _status(ours)
            stack.callback(_end, pid)
            yield Started(pid, os.getpid(), said_by(error), layers)

    return start


def by_microvm(scene: AttackScene) -> Start:
    """Start the program as `microvm` starts QEMU, from a process of the scene's user."""

    @contextmanager
    def start(program: Path) -> Iterator[Started]:
        command = [sys.executable, "-m", "tests.confinement.launched", str(scene.folder)]
        path = f"{program.parent}:{os.environ['PATH']}"
        with subprocess.Popen(
            command if scene.user is None else as_user(*command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_REPOSITORY,
            env={**os.environ, "PATH": path},
        ) as process:
            assert process.stdout is not None
            pid, said = json.loads(process.stdout.readline())
            yield Started(pid, process.pid, said)

    return start


def _descriptors(scene: AttackScene, stack: ExitStack) -> list[int]:
    """Open the descriptors that it inherits: a template, a writable disk, QMP and the port."""
    pairs = [socket.socketpair(), socket.socketpair()]
    for ours, _ in pairs:
        stack.enter_context(ours)
    with tempfile.TemporaryFile(dir=scene.folder.parent) as scratch:
        os.truncate(scratch.fileno(), 1 << 20)
        if scene.user is not None:
            os.fchown(scratch.fileno(), scene.user, scene.user)
        kept = os.dup(scratch.fileno())
    template = os.open(scene.folder / "template", os.O_RDONLY)
    return [template, kept, *(theirs.detach() for _, theirs in pairs)]


def _spawned(
    command: Sequence[str | Path], theirs: Sequence[int], user: int | None, stack: ExitStack
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Spawn a command with these descriptors, and return our socket to its standard error."""
    ours, error = socket.socketpair()
    stack.enter_context(ours).settimeout(DEADLINE)
    with error:  # close it here, so that its other end is at the end of file when the program exits
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=error.fileno(),
            pass_fds=theirs,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            cwd="/",
            start_new_session=True,
            **identity(user),
        )
    stack.callback(process.wait)
    stack.callback(process.kill)
    for each in theirs:
        os.close(each)
    return ours, process


def _status(status: socket.socket) -> tuple[int, dict[str, str]]:
    pid, layers = 0, {}
    with status.makefile() as lines:
        for line in lines:
            word, _, rest = line.strip().partition(" ")
            if word == "pid" and rest.isdecimal():  # or the name of a layer
                pid = int(rest)
            else:
                layers[word] = rest
    assert "failed" not in layers, layers
    return pid, layers


def said_by(error: socket.socket) -> str:
    """Read the standard error of the program until it has made its attempts, or has exited."""
    said = b""
    while not said.endswith(b"done\n"):
        try:
            chunk = error.recv(65536)
        except TimeoutError:
            raise AssertionError(f"it hangs: {said[-100:]!r}") from None
        if not chunk:
            break
        said += chunk
    return said.decode()


def _end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
