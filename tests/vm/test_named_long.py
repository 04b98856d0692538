"""Tests of many named machines whose supervisors and QEMUs are killed, and of many commands."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from tests.support.processes import ObservedProcess
from tests.vm.conftest import Command

from microvm.images import Image
from microvm.sync import MicroVM

COUNT = 50
KILLED = 25  # kills of each kind, in different machines
TRUE_WITHIN = 2.0

pytestmark = [pytest.mark.thorough, pytest.mark.long]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of this test's machines."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    return tmp_path / "microvm"


def test_two_hundred_commands_in_a_row_succeed(microvm: Command) -> None:
    assert microvm("start", "one").returncode == 0
    try:
        for number in range(200):
            done = microvm("exec", "one", "--", "echo", str(number))
            assert (done.returncode, done.stderr) == (0, b"")
            assert done.stdout == b"%d\n" % number
    finally:
        assert microvm("stop", "--all").returncode == 0


def test_command_takes_little_more_than_python_starts(microvm: Command, image: Image) -> None:
    def seconds(call: Callable[[], object]) -> float:
        begun = time.monotonic()
        call()
        return time.monotonic() - begun

    assert microvm("start", "one").returncode == 0
    try:
        with MicroVM(image) as vm:
            calls: list[Callable[[], object]] = [
                lambda: microvm("exec", "one", "--", "true").check_returncode(),
                lambda: subprocess.run([sys.executable, "-c", "import click"], check=True),
                lambda: vm.run(["true"], check=True),
            ]
            turns = [[seconds(call) for call in calls] for _ in range(40)]
    finally:
        assert microvm("stop", "--all").returncode == 0
    ours, click, round_trip = map(median, zip(*turns, strict=True))
    print(f"exec {ours:.4f} s, import click {click:.4f} s, round trip {round_trip:.4f} s")
    assert ours <= 1.2 * click + round_trip


def test_listing_is_correct_after_random_kills(microvm: Command, folder: Path) -> None:
    chance = random.Random(os.environ.get("CI") and 15)
    names = [f"m{number}" for number in range(COUNT)]
    with ThreadPoolExecutor(4) as starting:
        for started in starting.map(lambda name: microvm("start", name, "--memory=96M"), names):
            assert (started.returncode, started.stderr) == (0, b"")
    shown = listed(microvm)
    assert {name: each["state"] for name, each in shown.items()} == dict.fromkeys(names, "running")
    victims = chance.sample(names, 2 * KILLED)
    kinds = dict(zip(victims, ["supervisor"] * KILLED + ["qemu"] * KILLED, strict=True))
    processes = {
        (name, kind): ObservedProcess.of(shown[name][kind])
        for name in names
        for kind in ("supervisor", "qemu")
    }
    try:
        for name in chance.sample(victims, len(victims)):
            killed_at = time.monotonic()
            processes[name, kinds[name]].kill()
            while True:
                begun = time.monotonic()
                is_gone = listed(microvm)[name]["state"] == "gone"
                if is_gone and not processes[name, "qemu"].is_alive():
                    break
                # On a busy host the listing may be slow, which is not wrong.
                assert begun - killed_at < TRUE_WITHIN
            print(f"{kinds[name]} of {name}: {time.monotonic() - killed_at:.2f} s")
        shown = listed(microvm)
        for name, each in shown.items():
            reason = {
                "supervisor": "its supervisor was killed",
                "qemu": "QEMU was killed by signal 9 (SIGKILL)",
            }[kinds[name]]
            assert (each["state"], each["reason"]) == ("gone", reason)
        assert listed(microvm).keys() == shown.keys()
    finally:
        assert microvm("stop", "--all").returncode == 0
    assert list(folder.iterdir()) == []
    assert not [each for each, process in processes.items() if process.is_alive()]


def listed(microvm: Command) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in json.loads(microvm("ps", "--json").stdout)}
