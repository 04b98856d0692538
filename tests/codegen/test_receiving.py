"""Test that the programs and build files of docs/receiving.md work as the page says."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tests.support.captured import captured

pytestmark = pytest.mark.thorough

PAGE = Path(__file__).parents[2] / "docs/receiving.md"
TEXT = PAGE.read_text()
TESTED = {"device.c", "host.py", "CMakeLists.txt", "meson.build"}

FILES = {
    name: text
    for text in re.findall(r"```\w+\n(.*?)```", TEXT, re.DOTALL)
    for name in re.findall(r"\A(?:#|;|/\*) (\S+)", text)
}
"""The files on the page, by the names in their first lines."""

STEPS = re.findall(r"^    \$ (.*)\n((?:    [^$].*\n)*)", TEXT, re.MULTILINE)
"""The commands on the page, with their output."""


@pytest.fixture(scope="module")
def probe(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the project on the page, in which its commands were run."""
    folder = tmp_path_factory.mktemp("receiving")
    for command, output in STEPS:
        if command == "cd probe":
            continue
        here = folder / "probe" if (folder / "probe").exists() else folder
        said = run(bare, here, "sh", "-c", command)
        assert said == re.sub("^    ", "", output, flags=re.MULTILINE) or not output
        if command.startswith("microvm-proto init"):
            for name in TESTED:
                (folder / "probe" / name).write_text(FILES[name])
    return folder / "probe"


def run(bare: Path, folder: Path, *command: str) -> str:
    environment = {"PATH": f"{bare}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = captured(command, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_of_the_page_have_the_output_that_it_shows(probe: Path) -> None:
    assert [command for command, output in STEPS if output] == ["python host.py"]
    assert (probe / "device").exists()


@pytest.mark.parametrize(
    ("configure", "build"),
    [
        ("cmake -B build", "cmake --build build"),
        ("meson setup build", "meson compile -C build gen && meson compile -C build"),
    ],
    ids=["cmake", "meson"],
)
def test_a_build_generates_the_header_and_the_device(
    configure: str, build: str, bare: Path, probe: Path
) -> None:
    (probe / "protocol.h").unlink()
    run(bare, probe, "sh", "-c", f"rm -rf build; {configure}")
    run(bare, probe, "sh", "-c", build)
    run(bare, probe, "cp", "build/device", "device")
    assert run(bare, probe, "python3", "host.py").endswith("3 frames, 0 of them bad\n")
