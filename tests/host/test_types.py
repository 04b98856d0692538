"""Tests of the types that a strict type checker infers for results and machines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.captured import captured

ROOT = Path(__file__).parents[2]

USES = """
from collections.abc import Iterable
from typing import Any, assert_type

from microvm import CompletedProcess, Forks, Interpreter, Job, Machine, MicroVM, Outcome, Pool
from microvm import Snapshot, sync


async def uses(vm: MicroVM, pool: Pool, some: bool) -> None:
    argv = ["cat"]
    assert_type(await vm.run(argv), CompletedProcess[bytes])
    assert_type((await vm.run(argv)).stdout, bytes)
    assert_type((await vm.run(argv, input=b"x", timeout="5s", check=True)).stderr, bytes)
    assert_type((await vm.run(argv, text=True)).stdout, str)
    assert_type((await vm.run(argv, text=True, errors="replace", env={"A": "1"})).stderr, str)
    assert_type((await vm.run(argv, encoding="latin-1")).stdout, str)
    assert_type((await vm.run(argv, capture_output=False, text=True)).stdout, None)
    assert_type((await vm.run(argv, text=some)).stdout, Any)
    async for outcome in pool.map([argv], timeout=1):
        assert_type(outcome, Outcome[bytes])
        assert_type(outcome.result().stdout, bytes)
    async for text in pool.map([argv], text=True, ordered=False):
        assert_type(text.result().stdout, str)
    async for text in pool.map([argv], encoding="utf-8"):
        assert_type(text.result().stdout, str)
    async for either in pool.map([Job(argv, text=True), argv]):
        assert_type(either.result().stdout, Any)


def uses_without_async(vm: sync.MicroVM, some: bool) -> None:
    argv = [b"cat"]
    assert_type(vm.run(argv), CompletedProcess[bytes])
    assert_type(vm.run(argv, text=True), CompletedProcess[str])
    assert_type(vm.run(argv, encoding="latin-1", input="x").stdout, str)
    assert_type(vm.run(argv, capture_output=False).stdout, None)
    assert_type(vm.run(argv, text=some).stdout, Any)


async def of_either(vm: Machine) -> None:
    assert_type(await vm.run(["cat"], text=True), CompletedProcess[str])
    assert_type(await vm.checkpoint("it"), Snapshot)
    assert_type(await vm.fork(), Forks[MicroVM])
    assert_type(vm.pid, int | None)
    await vm.stop()


async def forks(python: Interpreter, blocking: sync.Interpreter) -> None:
    assert_type(await python.fork(), Interpreter)
    assert_type(await python.fork(2), Forks[Interpreter])
    assert_type(blocking.fork(), sync.Interpreter)
    assert_type(blocking.fork(2), sync.Forks[sync.Interpreter])


def of_either_without_async(vm: sync.Machine) -> None:
    assert_type(vm.run(["cat"], text=True), CompletedProcess[str])
    assert_type(vm.fork(), sync.Forks[sync.MicroVM])
    vm.write_file("/tmp/it", b"")


async def helped() -> None:
    async with MicroVM.attach("web") as web, MicroVM() as vm:
        await of_either(web)
        await of_either(vm)
    with sync.MicroVM.attach("web") as blocking, sync.MicroVM() as other:
        of_either_without_async(blocking)
        of_either_without_async(other)
"""


def _check(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    (folder / "uses.py").write_text(program)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache")]
    path = {"MYPYPATH": f"{ROOT}/host:{ROOT}/image"}
    return captured(
        [*command, "--follow-imports=silent", "--config-file=", "uses.py"], cwd=folder, env=path
    )


@pytest.mark.thorough
def test_a_strict_checker_knows_text_from_bytes(tmp_path: Path) -> None:
    checked = _check(tmp_path, USES + "        other.run([], text=True).stdout.decode()\n")
    errors = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1, checked.stdout + checked.stderr
    assert '"str" has no attribute "decode"' in errors[0]
