"""`python -m tests.frameworks.evaluation`: measure samples of Inspect in machines and on the host.

There are two tasks: a sample of the first one writes a program and checks it by unittest, and a
sample of examples/evaluation/ patches a repository and runs its tests. The machines continue from
one snapshot. As many samples run at the same time as this process has processors.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click
from tests.support.processes import children

from microvm import MicroVM
from microvm_image.sources.debian import _debian, _mirrors

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/evaluation"
PAGE = ROOT / "docs/frameworks/evaluation.md"
DEBIAN = "trixie"
SNAPSHOT = "inspect-evaluation"

TASK = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import solver
from inspect_ai.util import SandboxEnvironmentSpec, sandbox
from microvm.frameworks.inspect_ai import MicroVMConfig

CHECK = '''
import unittest
from answer import add

class TestAdd(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(40, 2), 42)
'''

@solver
def scripted():
    async def solve(state, generate):
        await sandbox().write_file("answer.py", f"def add(a, b): return a {state.input_text} b")
        result = await sandbox().exec(["python3", "-m", "unittest", "test_answer"], timeout=300)
        state.output.completion = "passed" if result.success else result.stderr
        return state
    return solve

@task
def written():
    dataset = [Sample(sign, target="passed", files={"test_answer.py": CHECK}) for sign in "+-"]
    machine = SandboxEnvironmentSpec("microvm", MicroVMConfig(snapshot="SNAPSHOT"))
    return Task(dataset, solver=scripted(), scorer=includes(), sandbox=machine)
""".replace("SNAPSHOT", SNAPSHOT)


class Measured(NamedTuple):
    """The cost of an evaluation: seconds, and bytes of its processes, for each sample."""

    seconds: float
    memory: float
    correct: int
    samples: int


async def prepare_written(folder: Path) -> None:
    """Save the snapshot of the first task: a machine that has run the samples' program once."""
    (folder / "written.py").write_text(TASK)
    async with MicroVM("python", commands=64) as vm:
        await vm.run(["python3", "-c", "import unittest"], check=True)
        await vm.checkpoint(SNAPSHOT)


def prepare_patched(folder: Path) -> None:
    """Run the commands of docs/frameworks/evaluation.md that get a repository and save a machine.

    apt uses lists of its own in `folder`, because many hosts list no sources of packages.
    """
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    apt = folder / "apt"
    (apt / "lists/partial").mkdir(parents=True)
    mirrors = _mirrors(DEBIAN) or [_debian(DEBIAN)]
    (apt / "sources.list").write_text(re.sub("^deb", "deb-src", "\n".join(mirrors), flags=re.M))
    (apt / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{apt}/sources.list"; Dir::Etc::SourceParts "-";'
        f'Dir::State::Lists "{apt}/lists"; Dir::Cache "{apt}";'
    )
    commands = re.findall(r"^    \$ ((?!pip|inspect)(?:.*\\\n)*.*)$", PAGE.read_text(), re.M)
    for command in ["apt-get update", *commands]:
        lists = {"APT_CONFIG": f"{apt}/apt.conf"} if command.startswith("apt-get") else {}
        variables = {**environment(), **lists}
        subprocess.run(["sh", "-c", command], cwd=folder, env=variables, check=True)


def environment() -> dict[str, str]:
    """Return variables with which commands use this Python, and pytest on the host no plugins."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": "src",  # for the repository's tests
    }


def measure(task: str, place: str, epochs: int, folder: Path) -> Measured:
    """Run each sample of a task in `folder` `epochs` times, in a sandbox of this type."""
    at_once = len(os.sched_getaffinity(0))
    command = ["inspect", "eval", f"{task}.py", "--model", "mockllm/model", "--display", "none"]
    command += ["--epochs", f"{epochs}", "--log-format", "json", "--log-dir", f"{task}-{place}"]
    command += ["--max-samples", f"{at_once}", "--max-sandboxes", f"{at_once}"]
    if place == "local":
        command += ["--sandbox", "local"]
        if task == "patched":
            command += ["-T", f"setup=cp -R {folder}/cachetools-5.3.3/. ."]
    highest = 0
    with subprocess.Popen(command, cwd=folder, env=environment()) as running:
        while running.poll() is None:
            highest = max(highest, memory(running.pid))
            time.sleep(0.05)
    assert running.returncode == 0
    [path] = (folder / f"{task}-{place}").glob("*.json")
    samples = json.loads(path.read_text())["samples"]
    begun = min(sample["started_at"] for sample in samples)
    ended = max(sample["completed_at"] for sample in samples)
    seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
    scores = [score["value"] for sample in samples for score in sample["scores"].values()]
    return Measured(seconds / len(samples), highest / at_once, scores.count("C"), len(samples))


def memory(pid: int) -> int:
    """Return the memory of a process's descendants in bytes; each shared page is divided.

    A child that has not executed its program yet still uses the memory of its parent.
    """
    total = 0
    for child in children(pid):
        with suppress(OSError):  # it has exited
            if command_line(child) == command_line(pid):
                continue
            rollup = Path(f"/proc/{child}/smaps_rollup").read_text()
            total += sum(int(size) << 10 for size in re.findall(r"^Pss: +(\d+)", rollup, re.M))
        total += memory(child)
    return total


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@click.command()
@click.option("--samples", default=100, show_default=True, help="Approximate number for each line.")
def main(samples: int) -> None:
    """Print a table with both tasks in both sandboxes."""
    print(f"Load: {os.getloadavg()[0]:.1f}; samples at a time: {len(os.sched_getaffinity(0))}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asyncio.run(prepare_written(folder))
        prepare_patched(folder)
        print("| task | sandbox | correct | seconds per sample | MiB per sample |")
        print("|---|---|---|---|---|")
        for task, kinds in (("written", 2), ("patched", 3)):
            for place in ("microvm", "local"):
                found = measure(task, place, max(1, samples // kinds), folder)
                print(
                    f"| `{task}` | `{place}` | {found.correct} of {found.samples} "
                    f"| {found.seconds:.2f} | {found.memory / (1 << 20):.0f} |"
                )


if __name__ == "__main__":
    main()
