"""Downloads wheels by pip. pip runs on the host, but builds nothing, and runs no code of packages.

pip is used because it chooses wheels by the same rules as the pip that installs them, reads the
user's configuration of indexes, proxies and certificates, and is nearly always installed. uv has no
command that only downloads.
"""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from microvm import cache
from microvm.cache import lock
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.system import tools
from microvm_image import downloads
from microvm_image.download_speed import size_of
from microvm_image.limits import Limits, how_to_raise
from microvm_image.pip import refusals
from microvm_image.pip.guest_python import GuestPython
from microvm_image.pip.wheels import Wheel, Wheels

_LAUNCHER = Path(__file__).with_name("launcher.py")
_LIST = "requirements.txt"
# Maximum size of pip's memory in bytes. A small wheel of a hostile author can contain a description
# of many gigabytes, which pip would decompress in memory.
_MEMORY = 4 << 30


def find_python() -> str:
    """Return the path of a Python of this host that has pip: the running one, or `python3`.

    :raises ImageError: Neither has pip.
    """
    for python in dict.fromkeys((sys.executable, tools.find("python3"))):
        command = [python or "", "-I", "-c", "import pip"]
        if python and not subprocess.run(command, capture_output=True, check=False).returncode:
            return python
    raise ImageError(
        f"Python packages need pip, which {sys.executable} does not have",
        hint="`apt install python3-pip`, or `uv pip install pip` in the environment of microvm",
    )


@contextmanager
def downloaded(
    requirements: Sequence[str], python: GuestPython, limits: Limits, report: Reporter
) -> Iterator[Wheels]:
    """Context manager that yields the wheels of packages and of all their dependencies.

    The wheels are removed at the end of the block.

    :param requirements: Lines that `requirements.check` has accepted.
    :raises ImageError: A package does not exist, or has no wheel; the index cannot be reached; or
        the wheels are larger than the limits allow.
    """
    key = hashlib.sha256(repr((requirements, python)).encode()).hexdigest()
    path = downloads.folder() / f"wheels-{key[:16]}"
    with lock.held(path, report), cache.scratch(path) as folder:
        report.step(f"downloading Python packages: {', '.join(requirements)}"[:200])
        download = _Download(folder, python, limits)
        packages = download.fetch("packages", requirements)
        yield Wheels(packages, () if python.has_pip else download.fetch("pip", ["pip"]))


class _Download:
    """A download of wheels into the folders of one folder."""

    def __init__(self, folder: Path, python: GuestPython, limits: Limits) -> None:
        self._folder = folder
        self._python = python
        self._limits = limits
        self._end = time.monotonic() + limits.seconds
        self._host = find_python()

    def fetch(self, name: str, requirements: Sequence[str]) -> tuple[Wheel, ...]:
        (self._folder / name).mkdir(parents=True)
        (self._folder / _LIST).write_text("".join(f"{line}\n" for line in requirements))
        python = self._python
        options = [
            *("--dest", name, "--requirement", _LIST, "--only-binary=:all:"),
            *("--implementation", "cp", "--python-version", python.version, "--abi", python.abi),
            *(f"--platform={platform}" for platform in python.platforms),
        ]
        try:
            self._run("download", *options)
        except tools.ToolError as error:
            if os.strerror(errno.EFBIG) in error.detail:  # the limit of a file's size
                raise _too_large() from error
            why = refusals.explain(error.detail, python, self._exists)
            raise why or error from error
        return tuple(map(Wheel.of, sorted((self._folder / name).iterdir())))

    def _exists(self, name: str) -> bool:
        try:
            self._run("index", "versions", name)
        except tools.ToolError:
            return False
        return True

    def _run(self, command: str, *arguments: str) -> None:
        limits, python = self._limits, self._python
        launcher = [self._host, "-I", str(_LAUNCHER), python.version, python.arch]
        options = ["--no-input", "--no-color", "--disable-pip-version-check"]
        tools.run(
            [*launcher, str(_MEMORY), str(limits.unpacked), command, *options, *arguments],
            what="downloading Python packages",
            cwd=self._folder,
            temporary=self._folder,
            # the user's pip may require a virtual environment, but nothing is installed here
            env={**os.environ, "PIP_REQUIRE_VIRTUALENV": "0"},
            watch=self._check,
        )

    def _check(self) -> None:
        if size_of(self._folder) > self._limits.unpacked:
            raise _too_large()
        if time.monotonic() > self._end:
            raise ImageError(
                f"the download of Python packages takes more than {self._limits.seconds} s",
                hint=how_to_raise("seconds"),
            )


def _too_large() -> ImageError:
    return ImageError("the Python packages exceed the maximum size", hint=how_to_raise("unpacked"))
