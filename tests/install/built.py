"""The built files, and clean environments with them, without an index and a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.captured import captured
from tests.support.ordinary import USER, as_user

from guest_pack.build import build
from guest_pack.parts import parts
from microvm import arches
from microvm.progress import NullReporter
from microvm_image import package
from microvm_image.kernel import cached, selection

ROOT = Path(__file__).parents[2]
ARCH = arches.find()
WHAT = "microvm-proto[vm,guest]"

#: The Pythons with which the built files are tested.
PYTHONS = [sys.executable, "python3.11"]

#: The programs in the PATH of a host: no compiler, no make, no apt.
PROGRAMS = (ARCH.qemu, *"cat echo env grep id ls mkdir sh tar tee test true".split())


def build_all(folder: Path) -> None:
    """Build the wheel, the source distribution, and the guest pack of this processor.

    The pack contains a kernel if the cache has one, because compiling it takes minutes.
    """
    command = [sys.executable, "-P", "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    build_pack(folder, kernel=cached.newest(ARCH) is not None)


def build_pack(folder: Path, *, kernel: bool) -> Path:
    # The distribution removes the pinned source when it has a newer one.
    return build(ARCH, parts(ARCH, NullReporter(), kernel=kernel, pinned=False), folder)


def installed(python: str) -> str:
    """Return the path of a Python; skip the test if this Python is not installed.

    The path is neither that of a wrapper script, nor that of a virtual environment, because other
    users may be unable to enter its folder.
    """
    if shutil.which(python) is None:
        assert "CI" not in os.environ, f"CI has {python}"
        pytest.skip(f"{python} is not installed")
    which = [python, "-c", "import os, sys; print(os.path.realpath(sys.executable))"]
    return captured(which, check=True).stdout.strip()


def download(folder: Path, python: str, *also: str) -> None:
    """Download the dependencies of the built files into their folder."""
    pip = [python, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    where = ["--dest", str(folder), "--find-links", str(folder)]
    subprocess.run([*pip, *where, *constraints, WHAT, *also], check=True)


@dataclass(frozen=True, slots=True)
class UserHost:
    """A host of a new user: a home, and a PATH without a compiler.

    :ivar folder: folder with the home and the programs.
    :ivar is_user: True for an unprivileged user, False for the user of the tests.
    :ivar reads_all: True if the user can read files of root, such as a Python in root's home.
    """

    folder: Path
    is_user: bool
    reads_all: bool = False

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def own(self) -> None:
        if self.is_user:
            for top in (self.home, self.folder / "runtime"):
                for path in (top, *top.rglob("*")):
                    os.chown(path, USER, USER, follow_symlinks=False)

    def environment(self) -> dict[str, str]:
        """Return the variables of the user, with no variable of microvm and no network."""
        path = [self.home / "env/bin", self.home / ".local/bin", self.folder / "bin"]
        found = {
            "HOME": str(self.home),
            "PATH": ":".join(map(str, path)),
            "XDG_RUNTIME_DIR": str(self.folder / "runtime"),
            "MICROVM_MIRROR": "http://127.0.0.1:9",
            "all_proxy": "http://127.0.0.1:9",
        }
        if not cached.newest(ARCH):  # because the pack would be found by it
            debian = package.fetch(selection.wanted(ARCH), ARCH, NullReporter())
            found["MICROVM_KERNEL"] = str(debian.path)
        return found

    def run(
        self, command: Sequence[str | Path], *, status: int = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the home, and check its exit status."""
        words = [str(word) for word in command]
        if self.is_user:
            words = as_user(*words, reads_all=self.reads_all)
        done = captured(
            words, cwd=self.home, env=self.environment() | environment, stdin=subprocess.DEVNULL
        )
        assert done.returncode == status, f"{command}: {done.stdout}{done.stderr}"
        return done

    def install(self, dist: Path, python: str, *what: str) -> None:
        """Install packages into a virtual environment, as docs/install.md describes."""
        self.run([shutil.which(python) or python, "-m", "venv", self.home / "env"])
        pip = [str(self.home / "env/bin/pip"), "install", "--quiet", "--no-index"]
        self.run([*pip, "--find-links", str(dist), *what])


def host(folder: Path, *, is_user: bool, reads_all: bool = False) -> UserHost:
    """Create a host in an empty folder, whose parents all users may enter."""
    made = UserHost(folder, is_user, reads_all)
    folder.chmod(0o755)
    for each in (made.home, folder / "runtime", folder / "bin"):
        each.mkdir(mode=0o755)
    for name in PROGRAMS:
        if found := shutil.which(name):
            (folder / "bin" / name).symlink_to(found)
    (folder / "runtime").chmod(0o700)
    made.own()
    return made


if __name__ == "__main__":
    build_pack(Path(sys.argv[1]), kernel=False)
