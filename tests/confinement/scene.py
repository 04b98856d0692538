"""An attacking program in the place of QEMU, and its victims.

The program (`attack/`) reports the result of each of its attempts. The tests also check the victims
for harm: their files, and their state in /proc.
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
class AttackAttempt:
    """An attempt, as the program lists it.

    :ivar danger: `open` if every unconfined process may make the attempt; `shut` if it also needs
        privileges or another kernel.
    :ivar gives: benefit for an attacker.
    """

    title: str
    name: str
    danger: str
    gives: str


@functools.cache
def program() -> Path:
    """The program, compiled once for all tests, in a folder that every user can read."""
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
    """The launcher, in a folder that every user can read, unlike a cache in a home."""
    copy = program().with_name(find_launcher().name)
    shutil.copy(find_launcher(), copy)
    copy.chmod(0o755)
    return copy


@functools.cache
def attempts() -> tuple[AttackAttempt, ...]:
    """All attempts, in the order in which the program makes them."""
    listed = subprocess.run([program(), "list"], check=True, capture_output=True, text=True)
    return tuple(AttackAttempt(*line.split("\t")) for line in listed.stdout.splitlines())


def successes(results: Mapping[str, str]) -> list[str]:
    """Return the attempts that succeeded."""
    return [name for name, result in results.items() if result == SUCCEEDED]


@dataclass
class AttackScene:
    """A folder of a user, and a process of the same user as its controller.

    :ivar folder: files that an attacker could read, write or rename.
    :ivar user: uid and gid of the user; None for the user of the tests.
    :ivar victim: pid of the process.
    :ivar notes: facts that the attacking program needs.
    """

    folder: Path
    user: int | None
    victim: int
    notes: dict[str, str]
    _before: dict[str, object] = field(default_factory=dict)

    def arm(self, path: Path, **notes: object) -> Path:
        """Write a program that attacks the files and the process."""
        return _arm(path, {**self.notes, **notes})

    def mark(self) -> None:
        """Record the present state of the victims."""
        self._before = self._look()

    def harm(self) -> list[str]:
        """Return the changes of the victims since the recorded state."""
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
def scene(user: int | None = None) -> Iterator[AttackScene]:
    """Create a folder with files, and start a victim. A user requires root."""
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
            yield AttackScene(folder, user, victim.pid, notes)
    finally:
        shutil.rmtree(folder)
        armed.unlink(missing_ok=True)


def identity(user: int | None) -> dict[str, Any]:
    """Return the arguments of `subprocess.Popen` for a user without supplementary groups."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def ordinary() -> int | None:
    """Return an unprivileged user: another user if the tests run as root, else None."""
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
