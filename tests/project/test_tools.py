"""Tests of the tools of the project: their pinned versions, and the targets that run them."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from tests.support.captured import captured

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = (ROOT / ".github/workflows/ci.yml").read_text()
HOSTED = [ROOT / "action.yml", *sorted(ROOT.glob(".github/workflows/*.yml"))]
RELEASE = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())

TARGETS = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))


def names(requirements: Iterable[str]) -> set[str]:
    """Return the distributions in requirements, with normalised names."""
    found = (re.match(r"[\w.-]+", line) for line in requirements)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


def test_installed_packages_are_pinned() -> None:
    extras = dict(PROJECT["optional-dependencies"])
    for unpinned in ("guest", "harbor", "nemo-gym"):  # the last two exclude other frameworks
        del extras[unpinned]
    wanted = names(PROJECT["dependencies"]).union(*map(names, extras.values()))
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert not wanted - names(pins), "run `make constraints`"
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []


def test_the_help_names_every_target() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS
    shown = captured(["make", "help"], cwd=ROOT, check=True).stdout
    assert set(re.findall(r"^make ([a-z0-9-]+)", shown, re.MULTILINE)) == TARGETS - {"help"}


def test_the_workflow_runs_targets_of_the_makefile() -> None:
    commands = re.findall(r"\brun: make (.*)$", WORKFLOW, re.MULTILINE)
    assert commands == [
        "${{ matrix.target }}",
        "test-install PYTHON=/usr/bin/python3",
        "dist guest-pack",
    ]
    targets = re.findall(r"target: ([\w-]+)\}", WORKFLOW)
    assert targets.count("check") == 1
    assert set(targets) == {"check", "test-host", "test-aarch64", "test-kvm"} <= TARGETS


def test_release_workflow_runs_make_release_check() -> None:
    commands = [step["run"] for step in RELEASE["jobs"]["build"]["steps"] if "run" in step]
    assert commands == ['make guest-pack release-check TAG="$GITHUB_REF_NAME"']
    assert {"guest-pack", "release-check"} <= TARGETS


def test_jobs_that_sign_or_publish_run_no_repository_code() -> None:
    assert RELEASE["permissions"] == {}
    jobs = RELEASE["jobs"]
    trusted = {name for name, job in jobs.items() if "id-token" in job["permissions"]}
    assert trusted == {"attest", "publish"}
    for job in (jobs[name] for name in trusted):
        assert not [step for step in job["steps"] if "run" in step or "checkout" in step["uses"]]
    assert jobs["publish"]["environment"] == "release"


@pytest.mark.parametrize("workflow", HOSTED[1:], ids=lambda path: path.stem)
def test_a_container_has_a_cache_that_is_not_in_its_home(workflow: Path) -> None:
    jobs = yaml.safe_load(workflow.read_text())["jobs"].values()
    contained = [job for job in jobs if "container" in job]
    assert contained
    for job in contained:
        assert job["env"]["MICROVM_CACHE"] == "/var/cache/microvm"


@pytest.mark.parametrize("path", HOSTED, ids=lambda path: path.stem)
def test_actions_of_hosted_runners_are_pinned(path: Path) -> None:
    used = re.findall(r"\buses: (.*)$", path.read_text(), re.MULTILINE)
    assert used
    used = [line for line in used if not line.startswith("./ ")]
    assert [line for line in used if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_the_workflow_has_every_python() -> None:
    claimed = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert [*dict.fromkeys(re.findall(r'python: "(3\.\d+)"', WORKFLOW))] == claimed


def test_the_hooks_are_well_formed() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    subprocess.run(command, cwd=ROOT, check=True)


def test_make_checks_and_generates_the_outputs_of_all_schemas() -> None:
    listed = captured(["git", "ls-files", "*.toml"], cwd=ROOT, check=True).stdout.split()
    schemas = {
        name
        for name in listed
        if not name.startswith("tests/") and not name.endswith(".released.toml")
        if {"protocol", "output"} <= tomllib.loads((ROOT / name).read_text()).keys()
    }
    [named] = re.findall(r"^SCHEMAS := (.*)$", MAKEFILE, re.MULTILINE)
    assert set(named.split()) == schemas
    recipes = dict(re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE))
    assert all("$(SCHEMAS)" in recipes[target] for target in ("gen", "gen-check"))
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    for text in (recipes["lint"], hooks):
        assert re.search(r"(\bmake|\(MAKE\)) .*\bgen-check$", text, re.MULTILINE)


def test_guide_lists_each_folder_of_tests() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| `(tests/\w+)` \|", guide, re.MULTILINE)
    folders = {path for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))}
    programs = {ROOT / "tests/systems"}  # these are no tests for pytest
    assert {ROOT / row for row in rows} == folders | programs
