"""The system's tools, run as processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from microvm.errors import ImageError


def run(argv: Sequence[str], *, what: str, cwd: Path | None = None) -> str:
    """Run a program to its end and return what it wrote to stdout.

    :param what: the work, for the message: `what` failed.
    :raises ImageError: it is not there or failed; `detail` holds the end of its stderr.
    """
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise ImageError(f"{what} failed: {argv[0]} is not installed") from None
    except OSError as error:  # such as of a host that has no more processes for us
        raise ImageError(f"{what} failed: {argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        full = " (disk full)" if "No space left on device" in done.stderr else ""
        raise ImageError(
            f"{what} failed{full}: {argv[0]} ended with status {done.returncode}",
            detail="\n".join(lines[-20:]),
        )
    return done.stdout
