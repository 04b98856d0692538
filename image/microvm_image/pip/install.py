"""Installs the wheels in the folder of this file, and removes the folder. It runs in a guest.

It needs no network. It runs with every Python from 3.8, so it uses no newer features.
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_TESTS = re.compile(r"/tests?/")


def main() -> None:
    """Install the wheels, compile their modules, and remove the folder of this file."""
    wanted = [wheel.name.split("-")[:2] for wheel in sorted(_FOLDER.glob("packages/*.whl"))]
    foreign = {
        _normal(each.metadata["Name"]) for each in metadata.distributions() if _is_foreign(each)
    }
    # pip cannot remove a package of the Linux distribution. So such a package is left, and pip
    # installs the new one in a folder that Python searches first.
    for group, options in (
        ([each for each in wanted if _normal(each[0]) in foreign], ["--ignore-installed"]),
        ([each for each in wanted if _normal(each[0]) not in foreign], []),
    ):
        if group:
            _pip(*options, *("==".join(each) for each in group))
    for folder in sorted({str(metadata.distribution(name).locate_file("")) for name, _ in wanted}):
        # pip would compile the packages' tests, too, which takes most of the time.
        compileall.compile_dir(folder, quiet=2, rx=_TESTS)
    shutil.rmtree(_FOLDER)


def _is_foreign(package: metadata.Distribution) -> bool:
    """Return True if a package lacks a list of its files, so that pip cannot remove it."""
    return package.read_text("RECORD") is None and package.read_text("installed-files.txt") is None


def _normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name or "").lower()


def _pip(*arguments: str) -> None:
    own = [f"{wheel}/pip" for wheel in _FOLDER.glob("pip/*.whl")]
    options = ["--no-index", f"--find-links={_FOLDER}/packages", "--no-deps", "--no-compile"]
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("PIP_")}
    # An old pip ignores unknown variables, but would refuse unknown options.
    environment["PIP_BREAK_SYSTEM_PACKAGES"] = "1"
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    environment["PIP_ROOT_USER_ACTION"] = "ignore"
    command = [sys.executable, *(own or ["-m", "pip"]), "install", *options, *arguments]
    if status := subprocess.run(command, check=False, env=environment).returncode:
        sys.exit(status)


main()
