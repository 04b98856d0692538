"""Tests that a tool leaves no process, mount or temporary file, whichever process is killed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.ordinary import USER, as_user, only_root
from tests.support.polling import eventually
from tests.support.processes import adopting, children, environment

from microvm import arches
from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm.system import namespaces, tools
from microvm_image.sources import debian

#: A tool that mounts file systems like mmdebstrap, and has child processes, one in another session.
TOOL = """
mkdir "$TMPDIR/root" && mount -t tmpfs microvm-test "$TMPDIR/root" && mkdir "$TMPDIR/root/proc"
mount -t proc proc "$TMPDIR/root/proc"
setsid sleep 1000 &
sleep 1000 &
echo begun
"""
OWNER = """
import subprocess, sys
from pathlib import Path
from microvm.system.tools import started

staging = Path(sys.argv[1])
print("ready", flush=True)
while True:
    with started(["sh", "-c", sys.argv[2]], temporary=staging,
                 stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tool:
        tool.stdout.read(1)
"""
WITHOUT = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
#: The strace options with which one system call of a tool's namespaces fails, as on some hosts.
REFUSALS = {
    "map": ["-e", "inject=openat:error=EACCES", "-P", "/proc/self/uid_map"],
    "mount": ["-e", "inject=mount:error=EACCES"],
    "unshare": ["-e", "inject=unshare:error=EPERM"],
}
RUN = (
    "import logging; from microvm.system.tools import run; "
    "logging.basicConfig(level='INFO', format='%(message)s'); "
    "print(run(['sh', '-c', 'echo $TMPDIR; ls -ld $TMPDIR'], what='trying'))"
)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the parent of the staging folder and of $TMPDIR."""
    made = Path(f"/tmp/microvm-test-{os.urandom(6).hex()}")  # every user can enter /tmp
    for each in (made, made / "staging", made / "temporary"):
        each.mkdir()
    (made / "staging").chmod(0o700)
    monkeypatch.setenv("TMPDIR", str(made / "temporary"))
    yield made
    shutil.rmtree(made)


def give_to_user(folder: Path) -> None:
    if os.geteuid() == 0:
        for each in (folder, *folder.iterdir()):
            os.chown(each, USER, USER)


@dataclass(frozen=True, slots=True)
class ToolOwner:
    """A process that owns tools, and the other children of the test's process."""

    process: subprocess.Popen[bytes]
    others: frozenset[int]

    @property
    def pid(self) -> int:
        return self.process.pid

    def end(self) -> None:
        """Kill the owner, and wait for its tools, which are now children of this process."""
        self.process.kill()
        self.process.wait()
        eventually(lambda: all(os.waitpid(pid, os.WNOHANG)[0] for pid in self._orphans()))

    def _orphans(self) -> set[int]:
        return {*children(os.getpid())} - self.others


@contextmanager
def owning(prefix: list[str], folder: Path, script: str) -> Iterator[ToolOwner]:
    """Start an owner of tools, whose orphans this process adopts."""
    command = [*prefix, sys.executable, "-c", OWNER, str(folder / "staging"), script]
    others = frozenset(children(os.getpid()))
    with adopting():
        owner = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment())
        assert owner.stdout
        try:
            assert owner.stdout.readline() == b"ready\n"
            yield ToolOwner(owner, others)
        finally:
            owner.stdout.close()
            owner.kill()
            owner.wait()


def kill_at_random(prefix: list[str], folder: Path, tries: int) -> None:
    """Kill the owner of tools after random times, and check that nothing of the tools is left."""
    random_time = random.Random(1)
    for _ in range(tries):
        with owning(prefix, folder, TOOL) as owner:
            time.sleep(random_time.uniform(0, 0.3))
            assert owner.process.poll() is None
            owner.end()
        assert not namespaces.mounts_below(str(folder))
        assert not [*folder.glob("*/*")]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("who", "tries"),
    [
        pytest.param("root", 20, marks=only_root),
        pytest.param("root", 300, marks=[only_root, pytest.mark.long]),
        ("user", 10),
        pytest.param("user", 300, marks=pytest.mark.long),
        # A process that may not create namespaces may not mount anything, either.
        pytest.param("without namespaces", 5, marks=only_root),
    ],
)
def test_a_killed_build_leaves_nothing(folder: Path, who: str, tries: int) -> None:
    if who == "user":
        give_to_user(folder)
    prefix = {"root": [], "user": as_user(), "without namespaces": WITHOUT}[who]
    kill_at_random(prefix, folder, tries)


def refusing(refusal: str) -> list[str]:
    """Return the first words of a command whose system call the kernel seems to refuse."""
    quiet = ["-qq", "-o", os.devnull, "-e", "signal=none", "-e", "status=none"]
    return ["strace", "-D", "-f", *quiet, *REFUSALS[refusal]]


CASES = [
    pytest.param("root", "mount", marks=only_root),
    pytest.param("root", "unshare", marks=only_root),
    ("user", "map"),
    ("user", "mount"),
    ("user", "unshare"),
]


@pytest.mark.thorough
@pytest.mark.parametrize(("who", "refusal"), CASES)
def test_a_tool_runs_if_the_host_refuses_a_step(folder: Path, who: str, refusal: str) -> None:
    command = [*refusing(refusal), sys.executable, "-c", RUN]
    if who == "user":
        command = as_user(*command)
        give_to_user(folder)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    reason = "Operation not permitted" if refusal == "unshare" else "Permission denied"
    # strace can write a line before
    assert done.stderr.splitlines()[-1] == f"sh ran without namespaces: {reason}"
    assert done.stdout.startswith(f"{folder}/temporary/microvm-")
    assert "drwx------" in done.stdout
    assert not [*folder.glob("*/*")]


@only_root
@pytest.mark.parametrize("prefix", [[], WITHOUT], ids=["isolated", "not isolated"])
def test_a_kill_of_the_keeper_kills_the_tool(folder: Path, prefix: list[str]) -> None:
    """The first process notices it even if SIGTERM is sent to its process group."""
    script = "trap '' TERM; kill -TERM 0; setsid sleep 1000 & sleep 1000 & wait"
    with owning(prefix, folder, script) as owner:
        eventually(lambda: children(owner.pid) and descendants(children(owner.pid)[0], 4))
        keeper = children(owner.pid)[0]
        os.kill(owner.pid, signal.SIGSTOP)
        os.kill(keeper, signal.SIGKILL)
        owner.end()
    assert [*folder.glob("staging/microvm-*")], "the keeper was killed before its cleanup"


def descendants(process: int, count: int) -> bool:
    """Return True if a process has a number of descendants."""
    found = 0
    ahead = [process]
    while ahead:
        below = children(ahead.pop())
        found += len(below)
        ahead += below
    return found >= count


def test_other_ids_can_use_the_files_of_an_unisolated_tool(folder: Path) -> None:
    script = 'stat -c %a "$TMPDIR"; readlink /proc/self/ns/pid'
    seen = tools.run(["sh", "-c", script], what="trying", isolate=False).split()
    assert seen == ["711", str(Path("/proc/self/ns/pid").readlink())]
    assert not [*folder.glob("*/*")]


def replace(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str) -> None:
    """Put a program that is a shell script first in PATH."""
    program = folder / "programs" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize("allowed", [True, False])
def test_mmdebstrap_isolates_itself_if_we_may_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, allowed: bool
) -> None:
    replace(monkeypatch, folder, "mmdebstrap", f'echo "$1" "$TMPDIR" >{folder}/seen')
    monkeypatch.setattr(debian, "may_use_all_ids", lambda: allowed)
    if allowed and os.geteuid():
        monkeypatch.setattr(tools, "_OWN_IDS", ())
    out = folder / "staging" / "out"
    debian._make("trixie", [], [], arches.find(), out, 60, NullReporter())
    mode, temporary = (folder / "seen").read_text().split()
    assert mode == ("--variant=minbase" if allowed else "--mode=unshare")
    assert temporary.startswith(f"{folder}/temporary/microvm-")


def test_a_refused_map_of_all_ids_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    replace(monkeypatch, folder, "unshare", "exit 1")
    assert not tools.may_use_all_ids()
    replace(monkeypatch, folder, "unshare", "exit 0")
    assert tools.may_use_all_ids()
    monkeypatch.setenv("PATH", str(folder))
    assert not tools.may_use_all_ids()


def test_an_unusable_tmpdir_does_not_hide_the_mirrors(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace(monkeypatch, folder, "apt-get", "exit 1")
    assert debian._mirrors("trixie") == []
    (folder / "temporary").chmod(0o777)
    with pytest.raises(ImageError, match="can be written by others"):
        debian._mirrors("trixie")


def test_a_tool_has_its_temporary_files_in_the_staging_folder(folder: Path) -> None:
    here = folder / "here"
    here.mkdir()
    script = 'touch "$TMPDIR/a"; find "$0" -name a; echo "$TMPDIR"'
    found, path = tools.run(["sh", "-c", script, str(here)], what="x", temporary=here).split()
    assert Path(found).parents[1] == here
    assert Path(path).name == Path(found).parent.name
    assert not [*here.iterdir()]
    assert not [*(folder / "temporary").iterdir()]


def test_temporary_files_are_removed_without_following_links(folder: Path) -> None:
    kept = folder / "kept"
    kept.mkdir()
    (kept / "file").touch()
    script = (
        'cd "$TMPDIR"; mkdir -p a/b "a/c d"; touch a/b/file "a/c d/file" .hidden; '
        'ln -s "$0" a/link; ln -s "$0/file" a/b/link; ln -s nowhere broken; mkfifo fifo'
    )
    tools.run(["sh", "-c", script, str(kept)], what="trying", temporary=folder / "staging")
    assert not [*(folder / "staging").iterdir()]
    assert (kept / "file").exists()


def test_a_tool_that_fails_to_start_is_quoted(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    with pytest.raises(ImageError, match="ended with status 125") as failure:
        tools.run([str(program)], what="trying")
    assert failure.value.detail == f"{program}: Exec format error"
    with pytest.raises(ImageError, match="ended with status 143"):
        tools.run(["sh", "-c", "kill $$"], what="trying")


def test_a_tool_that_signals_its_group_does_not_reach_its_keeper(folder: Path) -> None:
    script = 'touch "$TMPDIR/file"; kill -HUP 0; sleep 1000'
    with pytest.raises(ImageError, match="ended with status 129"):
        tools.run(["sh", "-c", script], what="trying", temporary=folder / "staging")
    assert not [*folder.glob("*/*")]


@only_root
def test_mounts_of_a_tool_are_invisible_to_the_host(folder: Path) -> None:
    script = 'mount -t tmpfs microvm-test "$0" && cat /proc/self/mountinfo'
    seen = tools.run(["sh", "-c", script, str(folder / "staging")], what="x")
    assert f"{folder}/staging" in seen
    assert not namespaces.mounts_below(str(folder))
