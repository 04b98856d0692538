"""Commands and code that run as an unprivileged user, even if the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = 12345

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def as_user(*command: str | Path, reads_all: bool = True) -> list[str]:
    """Return a command that runs another as a user who cannot write root's files.

    :param reads_all: True if the user may read all files, since Python may be in root's home.
    """
    words = [str(word) for word in command]
    if os.geteuid() != 0:
        return words
    ids = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    readers = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [shutil.which("setpriv") or "setpriv", *ids, *(readers if reads_all else []), *words]


@contextmanager
def enterable(parent: str | None = None) -> Iterator[Path]:
    """A temporary folder that all users may enter, in the folder `parent` or in TMPDIR.

    It is not in pytest's folder, because each new run of pytest removes the permission to enter
    that folder for other users.
    """
    with tempfile.TemporaryDirectory(prefix="microvm-test-", dir=parent) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Remove the permission to write to a folder for all users but root, for a while."""
    subprocess.run(["chmod", "-R", "a-w", folder], check=True)
    yield
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)  # so that pytest can remove it


@contextmanager
def acting_as_user() -> Iterator[None]:
    """Run a block as an unprivileged user, because file modes do not restrict root."""
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
