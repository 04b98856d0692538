"""Tests of the options of `run` and `exec` whose effect depends on the programs of a real guest."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from subprocess import STDOUT
from typing import Any

import pytest
from tests.support.parameters import accelerator
from tests.vm.conftest import Command

from microvm import ExecTimeout, MicroVM, sync


@pytest.fixture(scope="module")
def named(_runtime: None, microvm: Command) -> Iterator[sync.AttachedVM]:
    """A named machine, which runs each command through its supervisor."""
    assert microvm("start", "named", f"--accel={accelerator()}").returncode == 0
    with sync.MicroVM.attach("named") as attached:
        yield attached
    microvm("stop", "named")


LINE = 'printf %s "$A" | tr a-z A-Z; exit 3'


async def test_a_shell_runs_the_text(vm: MicroVM) -> None:
    result = await vm.run(LINE, shell=True, env={"A": "hello"})
    assert (result.returncode, result.stdout) == (3, b"HELLO")
    async with await vm.exec("echo $0", shell=True) as process:
        assert await process.stdout.read() == b"/bin/sh\n"


def tried(run: Callable[..., Any], script: str) -> str:
    """Return the outcome of a command. This is code as users write it for `subprocess.run`."""
    limit = 0.5 if "sleep" in script else 60
    argv = ["sh", "-c", script] if " " in script else [script]
    try:
        done = run(argv, capture_output=True, text=True, check=True, timeout=limit)
    except FileNotFoundError as error:
        return f"missing {error.filename}, {error.errno}"
    except PermissionError as error:
        return f"forbidden {error.filename}, {error.errno}"
    except subprocess.CalledProcessError as error:
        return f"{error.cmd} {error.returncode} {error.stdout}{error.stderr}"
    except subprocess.TimeoutExpired as error:
        said = error.output.decode() if isinstance(error.output, bytes) else error.stdout
        return f"{error.cmd} {error.timeout} {said!r}"
    return str(done.stdout)


@pytest.mark.parametrize(
    "script",
    ["echo a", "no-such", "/etc", "echo a; echo b >&2; exit 3", "echo a; exec sleep 60"],
)
async def test_code_for_subprocess_works(vm: MicroVM, named: sync.AttachedVM, script: str) -> None:
    loop = asyncio.get_running_loop()

    def run(argv: list[str], **options: Any) -> object:
        return asyncio.run_coroutine_threadsafe(vm.run(argv, **options), loop).result()

    expected = tried(subprocess.run, script)
    assert await asyncio.to_thread(tried, run, script) == expected
    assert tried(named.run, script) == expected


FLOOD = "yes | head -c 9m; echo end >&2; exit 3"


@pytest.mark.thorough
async def test_a_flood_is_cut_and_the_command_continues(
    vm: MicroVM, named: sync.AttachedVM
) -> None:
    for result in (
        await vm.run(FLOOD, shell=True, capture_limit="1M"),
        named.run(FLOOD, shell=True, capture_limit="1M"),
    ):
        assert (result.returncode, result.stderr, result.truncated) == (3, b"end\n", True)
        assert (len(result.stdout), set(result.stdout)) == (1 << 20, set(b"y\n"))
    with pytest.raises(ExecTimeout) as caught:
        await vm.run(["yes"], capture_limit=3, timeout=0.5, text=True)
    assert caught.value.stdout == "y\ny"


# A program that writes to both streams in turn, without waiting.
TURNS = "i=0; while [ $i -lt 300 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done"


async def test_both_streams_arrive_in_order(vm: MicroVM, named: sync.AttachedVM) -> None:
    expected = [f"{stream}{i}" for i in range(300) for stream in ("out", "err")]
    for result in (
        await vm.run(TURNS, shell=True, stderr=STDOUT, text=True),
        named.run(TURNS, shell=True, stderr=STDOUT, text=True),
    ):
        assert (result.stdout.split(), result.stderr) == (expected, "")
    async with await vm.exec(TURNS, shell=True, stderr=STDOUT, user="nobody") as process:
        assert (await process.stdout.read()).decode().split() == expected
        assert await process.stderr.read() == b""


async def test_a_terminal_joins_its_streams_anyway(vm: MicroVM) -> None:
    result = await vm.run("tty; echo error >&2", shell=True, tty=True, stderr=STDOUT, text=True)
    assert (result.stdout, result.stderr) == ("/dev/pts/0\nerror\n", "")
