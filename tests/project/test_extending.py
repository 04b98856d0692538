"""Tests that apply the steps of docs/extending.md to a copy of this project, and use the result."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.captured import captured

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/extending.md").read_text()
PARTS = ("codegen", "docs", "guest", "host", "image", "protocol", "tests/project")


def edits(title: str) -> Iterator[tuple[str, str, str]]:
    """Return the changes in a section: for each, the file, the old text, and the new one."""
    section = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    for diff in re.findall(r"^```diff\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        for file, hunks in re.findall(r"^--- (\S+)\n(.*?)(?=^--- |\Z)", diff, re.M | re.DOTALL):
            for hunk in hunks.split("@@\n")[1:]:
                lines = hunk.splitlines(keepends=True)
                old = "".join(line[1:] for line in lines if line[0] != "+")
                new = "".join(line[1:] for line in lines if line[0] != "-")
                yield file, old, new


class Copy:
    """A copy of the files that the steps change, and of those that must still work."""

    def __init__(self, folder: Path, title: str) -> None:
        """Copy the files, apply the section with this title, and generate the other files."""
        self.folder = folder
        for part in PARTS:
            ignored = shutil.ignore_patterns("__pycache__", "build")
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        (folder / "fuzz").mkdir()
        for file, old, new in edits(title):
            text = (folder / file).read_text()
            assert text.count(old) == 1, f"{file} has not got once: {old}"
            (folder / file).write_text(text.replace(old, new))
        generate = "from microvm_proto.cli import main; main()"
        self.python("-c", generate, "gen", "protocol/sandboxd.toml")
        self.python("-m", "tests.project.pages", "tests.project.options")

    def python(self, *arguments: str) -> str:
        """Run Python with the modules of the copy, and return its output."""
        path = ":".join(str(self.folder / part) for part in ("host", "image", "codegen", "."))
        done = captured(
            [sys.executable, "-P", "-B", *arguments],
            cwd=self.folder,
            env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"},
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def daemon(self) -> str:
        """Build the daemon of the copy, and return its path."""
        binary = self.folder / "build/sandboxd"
        make = ["make", "-s", "-C", str(self.folder / "guest"), f"OUT={binary.parent}"]
        made = captured(make)
        assert made.returncode == 0, made.stderr
        return str(binary)


# Runs the daemon, whose path is the last argument, and exchanges messages with it.
CONNECTED = """
import asyncio, socket, subprocess, sys
from microvm.wire.session import Session

ours, theirs = socket.socketpair()
daemon = subprocess.Popen([sys.argv[-1], str(theirs.fileno())], pass_fds=[theirs.fileno()])
theirs.close()
ours.settimeout(30)
"""

OPTION_USED = (
    CONNECTED
    + """
from microvm.guest.guest import Guest
from microvm.guest.run import run
from microvm.jobs.file import parse

async def lines():
    yield b'{"argv": ["nice"], "niceness": 7}'

async def main():
    guest = Guest()
    await guest.connect(ours)
    await guest.ready(30)
    print((await run(guest, ["nice"], niceness=5, text=True)).stdout, end="")
    async for job in parse(lines()):
        print((await run(guest, job.argv, **job.options, text=True)).stdout, end="")
    for wrong in ("high", 20):
        try:
            await run(guest, ["nice"], niceness=wrong)
        except ValueError as error:
            print(error)

try:
    asyncio.run(main())
finally:
    daemon.kill()
    daemon.wait()
"""
)

MESSAGE_USED = (
    CONNECTED
    + """
from microvm.errors import ProtocolError
from microvm.wire import codec

def answer(*said):
    ours.sendall(b"".join(said))
    while (event := session.next_event()) is None:
        session.receive_data(ours.recv(1 << 16))
    return event

try:
    session = Session()
    answer(session.hello())
    kernel = answer(session.resume(), session.kernel_request())
    print(type(kernel).__name__, kernel.release.decode())
    session.receive_data(kernel.encode())
    try:
        session.next_event()
    except ProtocolError as error:
        print(error)
finally:
    daemon.kill()
    daemon.wait()
"""
)


def test_steps_add_an_option(tmp_path: Path) -> None:
    copy = Copy(tmp_path, "Adding an option")
    for verb in ("run", "map"):
        shown = copy.python("-m", "microvm", verb, "--help")
        assert "--niceness N " in shown
        assert "How far the command steps back" in shown
    said = copy.python("-c", "import microvm; print(microvm.MicroVM.run.__doc__)")
    assert ":param niceness: How far the command steps back" in said
    listed = "| `niceness` | `--niceness N` of run, map, exec |"
    assert listed in (tmp_path / "docs/options.md").read_text()
    assert copy.python("-c", OPTION_USED, copy.daemon()) == (
        "5\n7\nniceness: 'high' is not a whole number from 0 to 19\n"
        "niceness: 20 is not a whole number from 0 to 19\n"
    )


def test_steps_add_a_message(tmp_path: Path) -> None:
    copy = Copy(tmp_path, "Adding a message")
    release = Path("/proc/sys/kernel/osrelease").read_text()
    assert copy.python("-c", MESSAGE_USED, copy.daemon()).startswith(
        f"Kernel {release}the guest sent Kernel, which is not allowed now (READY)"
    )
