"""An ordinary user, for tests of what one may do: ourselves, or if we are root another."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = 12345

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def as_user(*command: str | Path, reads_all: bool = True) -> list[str]:
    """A command, run by a user who can write nothing of root's.

    :param reads_all: whether it can be read: Python may lie in root's home.
    """
    words = [str(word) for word in command]
    if os.geteuid() != 0:
        return words
    ids = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    readers = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [shutil.which("setpriv") or "setpriv", *ids, *(readers if reads_all else []), *words]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Take the right to write to a folder from all but root."""
    subprocess.run(["chmod", "-R", "a-w", folder], check=True)
    yield
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)  # it is to be removed


@contextmanager
def acting_as_user() -> Iterator[None]:
    """Give up root for a while, whom no file's mode stops."""
    import grp  # noqa: F401 - Python may lie where only root can read
    import pwd  # noqa: F401

    root = os.geteuid() == 0
    if root:
        os.setegid(USER)
        os.seteuid(USER)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
