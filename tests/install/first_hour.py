"""The first hour of a new user: commands, their output, and the duration of each step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from tests.install.built import UserHost

#: Files that the user writes meanwhile.
FILES = {
    "docs/a.md": "# A\n",
    "jobs": 'echo one\n["sh", "-c", "exit 3"]\n',
    "fork.py": """\
import asyncio

from microvm import MicroVM


async def main():
    async with MicroVM() as vm:
        await vm.run(["sh", "-c", "echo prepared >/tmp/state"], check=True)
        async with await vm.fork(3) as forks:
            for fork in forks:
                print((await fork.run(["cat", "/tmp/state"], text=True)).stdout, end="")


asyncio.run(main())
""",
    "loop.py": """\
import uvloop

import microvm
from microvm import sync


async def main():
    with sync.MicroVM() as vm:  # though a loop runs here
        print(vm.run(["echo", "from", "sync"], text=True).stdout, end="")
    async with microvm.MicroVM() as vm:
        print((await vm.run(["echo", "from", "uvloop"], text=True)).stdout, end="")


uvloop.run(main())
""",
    "test_clean.py": """\
def test_a_machine_of_its_own(microvm):
    microvm.run(["rm", "-rf", "/etc"], check=True)


def test_another(microvm):
    assert "etc" in [file.name for file in microvm.list("/")]
""",
}


@dataclass(frozen=True, slots=True)
class UserStep:
    """A step of the user.

    :ivar line: command line.
    :ivar shows: text that its output must contain.
    :ivar status: expected exit status.
    """

    line: str
    shows: str = ""
    status: int = 0


STEPS = (
    UserStep("microvm --version", "microvm, version "),
    UserStep("microvm run -- echo hello", "hello\n"),
    UserStep("microvm run -- echo hello", "hello\n"),
    UserStep("microvm doctor", "hello"),
    UserStep("microvm run -- uname -sr", "Linux 6."),
    UserStep("microvm run -- sh -c 'echo out; echo err >&2; exit 7'", "out\nerr\n", 7),
    UserStep("microvm run -- sh -c 'rm -rf / 2>/dev/null; echo oops'", "oops\n"),
    UserStep("microvm run --copy docs --collect docs.tar -- tar cf docs.tar docs"),
    UserStep("tar tf docs.tar", "docs/a.md\n"),
    UserStep("microvm run -- pyhton", "pyhton", 127),
    UserStep("microvm rnu -- true", "run", 2),
    UserStep("microvm run --timeout 1 -- sleep 60", "1 s", 124),
    UserStep("microvm start web"),
    UserStep("microvm exec web -- sh -c 'echo kept >/tmp/state'"),
    UserStep("microvm cp web:/tmp/state state && cat state", "kept\n"),
    UserStep("microvm checkpoint web ready"),
    UserStep("microvm stop web"),
    UserStep("microvm run --from ready -- cat /tmp/state", "kept\n"),
    UserStep("microvm map jobs", '"status": 3', 1),
    UserStep("microvm image import python.image python", "python:latest\n"),
    UserStep("microvm run --image python -- python3 -c 'print(6 * 7)'", "42\n"),
    UserStep("microvm run --image python -- python3 -c 'print(6 * 7)'", "42\n"),
    UserStep("python fork.py", "prepared\n" * 3),
    UserStep("python loop.py", "from sync\nfrom uvloop\n"),
    UserStep("pytest -q test_clean.py", "2 passed"),
    UserStep("microvm-proto init probe && cd probe && microvm-proto lint"),
)


def perform(host: UserHost) -> Iterator[tuple[UserStep, float]]:
    """Run each step in the user's home, check its output, and yield its duration in seconds.

    :raises AssertionError: the result of a step is wrong.
    """
    for name, text in FILES.items():
        path = host.home / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    host.own()
    for step in STEPS:
        begun = time.monotonic()
        done = host.run(["sh", "-c", step.line], status=step.status)
        took = time.monotonic() - begun
        assert step.shows in done.stdout + done.stderr, step.line
        yield step, took
