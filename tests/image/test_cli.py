"""`microvm image`, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from microvm.cache import lock
from microvm.cli.image import image
from microvm.errors import ImageError


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(image, [str(each) for each in arguments])


@pytest.fixture
def built(archive: Path, kernel: Path) -> Path:
    """Give the folder of an image made by the command."""
    result = run("build", "--rootfs", archive, "--kernel", kernel)
    assert result.exit_code == 0, result.output
    return Path(result.stdout.splitlines()[-1])


def test_build_prints_the_path_alone_on_stdout(archive: Path, kernel: Path, cache: Path) -> None:
    result = run("build", "--rootfs", archive, "--kernel", kernel)
    assert Path(result.stdout.rstrip("\n")).parent == cache / "images"
    assert "microvm: compiling sandboxd" in result.stderr
    again = run("build", "--rootfs", archive, "--kernel", kernel)
    assert again.stdout == result.stdout
    assert again.stderr == ""


def test_build_makes_the_folder_named(archive: Path, kernel: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = run("build", "--rootfs", archive, "--kernel", kernel, "-o", output)
    assert result.stdout == f"{output}\n"
    assert (output / "manifest.json").is_file()


def test_ls_in_columns(built: Path) -> None:
    header, line = run("ls").stdout.splitlines()
    assert header.split() == ["NAME", "BASE", "KERNEL", "SIZE", "CREATED"]
    assert line.split()[:3] == [built.name, "alpine-3.20.3", "6.1.2-test"]


def test_ls_as_json(built: Path) -> None:
    (facts,) = json.loads(run("ls", "--json").stdout)
    assert facts["name"] == built.name
    assert facts["path"] == str(built)
    assert facts["arch"] == os.uname().machine


def test_ls_of_nothing() -> None:
    assert run("ls").stdout.split() == ["NAME", "BASE", "KERNEL", "SIZE", "CREATED"]
    assert json.loads(run("ls", "--json").stdout) == []


def test_rm(built: Path) -> None:
    assert run("rm", built.name).exit_code == 0
    assert not built.exists()
    assert isinstance(run("rm", built.name).exception, ImageError)


def test_rm_says_for_whom_it_waits(built: Path) -> None:
    command = [sys.executable, "-m", "microvm", "image", "rm", built.name]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with (
        lock.attempt(built),
        subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process,
    ):
        assert process.stderr
        assert f"waiting for process {os.getpid()}, which makes" in process.stderr.readline()
        assert built.exists()
        (built.parent / f".{built.name}.lock").unlink()  # as the end of the block will
        assert process.wait(60) == 0
    assert not built.exists()


@pytest.mark.parametrize("arguments", [["rm"], ["build", "--arch", "vax"], ["build", "extra"]])
def test_usage_errors(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_errors_are_left_to_the_caller(tmp_path: Path) -> None:
    assert isinstance(run("build", "--kernel", tmp_path / "missing").exception, ImageError)
