"""Evaluates patches of a repository by its tests, as SWE-bench does; a task of Inspect AI.

Each sample runs in its own machine, a fork of one snapshot. docs/frameworks/evaluation.md explains
how to create the snapshot and run the task.
"""

from __future__ import annotations

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import CORRECT, INCORRECT, Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import Generate, Solver, TaskState, solver
from inspect_ai.util import SandboxEnvironmentSpec, sandbox

from microvm.frameworks.inspect_ai import MicroVMConfig

FOLDER = Path(__file__).parent
PATCH = ["patch", "--strip=1"]
TEST = ["python3", "-m", "pytest", "-q"]


@solver
def apply_patch() -> Solver:
    """Apply the patch of a sample. Use an agent instead to evaluate a model."""

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        await sandbox().exec(PATCH, input=state.input_text, timeout=60)
        return state

    return solve


@scorer(metrics=[accuracy()])
def tests_pass() -> Scorer:
    """Add the tests of the new function, and run all tests of the repository."""

    async def score(state: TaskState, target: Target) -> Score:
        tests = (FOLDER / "tests.diff").read_text()
        done = await sandbox().exec(PATCH, input=tests, timeout=60)
        if done.success:
            done = await sandbox().exec(TEST, timeout=600)
        return Score(value=CORRECT if done.success else INCORRECT, explanation=done.stdout)

    return score


@task
def patched(setup: str | None = None) -> Task:
    """Return the task. Each sample runs the script `setup` first; a fork needs none."""
    dataset = [
        Sample(path.read_text(), id=path.stem, setup=setup)
        for path in sorted(FOLDER.glob("patches/*.diff"))
    ]
    machine = SandboxEnvironmentSpec("microvm", MicroVMConfig(snapshot="cachetools"))
    return Task(dataset, solver=apply_patch(), scorer=tests_pass(), sandbox=machine)
