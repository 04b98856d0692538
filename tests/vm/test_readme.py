"""Tests of the commands and the program in the README, and of the home page's first commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from docs import record

from microvm import cache as caches

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
KERNEL = r"Linux 6\.\d+\S+\n"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `microvm` is a command."""
    command = tmp_path / "microvm"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m microvm "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.fixture(params=["as on this host", "without a mirror"])
def either(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path
) -> dict[str, str]:
    """The environment, and another one in which `make hello` builds the image with busybox."""
    if request.param == "as on this host":
        return environment
    environment.pop("MICROVM_ROOTFS", None)
    own = tmp_path / "cache"
    caches.make(own / "downloads")
    if (kernels := caches.folder("kernels")).is_dir():
        shutil.copytree(kernels, own / "kernels", ignore=lambda *_: [".build.lock"])
    for package in filter(Path.is_dir, caches.folder("downloads").iterdir()):
        shutil.copytree(package, own / "downloads" / package.name)
    nobody = "http://127.0.0.1:9"
    return {**environment, "MICROVM_CACHE": str(own), "MICROVM_MIRROR": nobody}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("number", "prints"),
    [
        (0, KERNEL),
        (1, r"42\n"),
        (2, r"out\n7\n"),
        (3, r""),
        (4, r"oops\n|"),  # rm may remove itself first, but echo is built into sh
    ],
)
def test_first_commands_of_the_home_page_print_their_output(
    number: int, prints: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("hello\n")
    result = subprocess.run(
        ["sh", "-c", record.commands()[number]],
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,  # the command may have to build an image first
        check=False,
    )
    assert re.fullmatch(prints, result.stdout), result.stderr
    assert "Traceback" not in result.stderr
    if number == 3:
        assert zipfile.ZipFile(tmp_path / "notes.zip").read("notes") == b"hello\n"


def test_home_page_has_five_commands_and_their_file() -> None:
    assert len(record.commands()) == 5
    assert re.search(r"^    echo hello >notes$", (ROOT / "docs/index.md").read_text(), re.MULTILINE)


def _run(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=600, check=True
    ).stdout


def test_readme_commands_run_in_both_default_images(either: dict[str, str]) -> None:
    before, program, after = re.split("^```(?:python)?\n", README.read_text(), flags=re.MULTILINE)
    commands = re.findall(r"^    (\S.*)$", before + after, re.MULTILINE)
    hello, test, command = [line.partition("#")[0].strip() for line in commands]
    assert (hello, test) == ("make hello", "make test")
    assert re.fullmatch(KERNEL, _run(["sh", "-c", command.removeprefix(".venv/bin/")], either))
    assert _run([sys.executable, "-c", program], either) == "0 hello\n\n"
    names = [path.name for path in (Path(either["MICROVM_CACHE"]) / "images").iterdir()]
    if "MICROVM_MIRROR" in either:
        assert [name.partition("-")[0] for name in names] == ["busybox"]


@pytest.mark.thorough
def test_first_program_of_the_python_page_runs(environment: dict[str, str]) -> None:
    page = (ROOT / "docs/python.md").read_text()
    program, *_ = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    printed = _run([sys.executable, "-c", program], environment)
    assert "0 b'hello\\n'" in printed
    assert "PING 127.0.0.1" in printed
    assert printed.endswith("".join(f"b'{number}\\n'\n" for number in range(5)))
