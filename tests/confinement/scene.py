"""What is attacked, and by what: a program in QEMU's place, and victims around it.

The program (`attack/`) says how each of its attempts ended. Whether it harmed anybody is seen in
the victims as well: their files, and what /proc tells of them.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.ordinary import USER
from tests.support.processes import status

from microvm.qemu.launcher import find as find_launcher

SOURCES = Path(__file__).parent / "attack"
_NOTES = b"@notes@"
_NOTES_SIZE = 4096
_DEADLINE = 20.0
_FILES = "secret rename exchange exchanged unlink link chmod truncate program other".split()

SUCCEEDED = "SUCCEEDED"
KILLED = "killed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt, as the program lists it.

    :ivar danger: `open`: it harms others, and any process may do it that is not confined; `shut`:
        the same, but it takes privileges, or another kernel; `own`: it harms nobody else.
    :ivar gives: what it would give to an attacker.
    """

    title: str
    name: str
    danger: str
    gives: str


@functools.cache
def program() -> Path:
    """The program, compiled once for all tests; it lies where every user can read it."""
    folder = Path(tempfile.mkdtemp(prefix="microvm-attack-"))
    atexit.register(shutil.rmtree, folder)
    folder.chmod(0o755)
    flags = "-std=c11 -static -no-pie -fno-pie -O1 -Wall -Wextra -Werror".split()
    flags.append("-Wno-missing-field-initializers")
    made = folder / "attack"
    subprocess.run(["gcc", *flags, "-o", made, *sorted(SOURCES.glob("*.c"))], check=True)
    return made


@functools.cache
def launcher() -> Path:
    """The launcher, where every user can execute it: a cache may be in a home."""
    copy = program().with_name(find_launcher().name)
    shutil.copy(find_launcher(), copy)
    copy.chmod(0o755)
    return copy


@functools.cache
def attempts() -> tuple[Attempt, ...]:
    """Every attempt, in the order in which they are made."""
    listed = subprocess.run([program(), "list"], check=True, capture_output=True, text=True)
    return tuple(Attempt(*line.split("\t")) for line in listed.stdout.splitlines())


def dangerous(results: Mapping[str, str]) -> list[str]:
    """Return the attempts that succeeded, and harm others than the program itself."""
    harmless = {attempt.name for attempt in attempts() if attempt.danger == "own"}
    return [
        name for name, result in results.items() if result == SUCCEEDED and name not in harmless
    ]


@dataclass
class Scene:
    """A folder of a user's, and a process of the same user's that stands for the controller.

    :ivar folder: it has what can be read, written, renamed …
    :ivar user: the user's uid and gid; None: whoever runs the tests.
    :ivar victim: the pid of the process.
    :ivar notes: what a program that attacks has to know of them.
    """

    folder: Path
    user: int | None
    victim: int
    notes: dict[str, str]
    _before: dict[str, object] = field(default_factory=dict)

    def arm(self, path: Path, **notes: object) -> Path:
        """Write a program that attacks them."""
        return _arm(path, {**self.notes, **notes})

    def mark(self) -> None:
        """Note how everything is."""
        self._before = self._look()

    def harm(self) -> list[str]:
        """Return what has changed since then."""
        before, after = self._before, self._look()
        assert before
        names = sorted({*before, *after})
        return [
            f"{name}: {before.get(name)} -> {after.get(name)}"
            for name in names
            if before.get(name) != after.get(name)
        ]

    def _look(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for path in sorted(self.folder.rglob("*")):
            at = path.lstat()
            found[path.name] = (at.st_ino, oct(at.st_mode), at.st_size, at.st_ctime_ns)
        said = status(self.victim)
        for name in ("SigPnd", "ShdPnd", "Cpus_allowed", "TracerPid"):
            found[name] = said[name]
        found["state"] = said["State"][:1]
        found["niceness"] = os.getpriority(os.PRIO_PROCESS, self.victim)
        found["scheduler"] = os.sched_getscheduler(self.victim)
        limits = Path(f"/proc/{self.victim}/limits").read_text().splitlines()
        return found | {line[:25].strip(): line[25:].split() for line in limits}


@contextmanager
def scene(user: int | None = None) -> Iterator[Scene]:
    """Make a folder with files, and start a victim; a user other than ours takes root."""
    folder = Path(tempfile.mkdtemp(prefix="microvm-scene-"))
    armed = folder.with_suffix(".victim")
    try:
        _fill(folder, user)
        notes = {"folder": str(folder)}
        with subprocess.Popen(
            [_arm(armed, notes), "victim"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            **identity(user),
        ) as victim:
            assert victim.stdout is not None
            for line in iter(victim.stdout.readline, "\n"):
                key, _, value = line.strip().partition("=")
                notes[key] = value
            yield Scene(folder, user, victim.pid, notes)
    finally:
        shutil.rmtree(folder)
        armed.unlink(missing_ok=True)


def identity(user: int | None) -> dict[str, Any]:
    """Arguments of `subprocess.Popen` to be a user, without any other group."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def ordinary() -> int | None:
    """A user without privileges: ourselves, or if we are root another."""
    return USER if os.geteuid() == 0 else None


def _fill(folder: Path, user: int | None) -> None:
    for name in _FILES:
        (folder / name).write_text(name)
    (folder / "program").write_bytes(program().read_bytes())
    (folder / "template").write_bytes(b"template".ljust(65536, b"\0"))
    (folder / "rmdir").mkdir()
    for path in (*folder.iterdir(), folder):
        path.chmod(0o700 if path.is_dir() or path.name == "program" else 0o600)
        if user is not None:
            os.chown(path, user, user)


def _arm(path: Path, notes: Mapping[str, object]) -> Path:
    text = "".join(f"{key}={value}\n" for key, value in notes.items()).encode()
    made = program().read_bytes()
    at = made.index(_NOTES)
    assert len(text) < _NOTES_SIZE
    path.write_bytes(made[:at] + text.ljust(_NOTES_SIZE, b"\0") + made[at + _NOTES_SIZE :])
    path.chmod(0o755)
    return path
