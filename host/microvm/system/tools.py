"""The system's tools, run as processes, each of which ends with its owner."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError

_SYSTEM_PATH = "/usr/sbin:/sbin"  # which an ordinary user's PATH has not got
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_INTERVAL = 0.1
_CLEANUP_TIMEOUT = 5.0  # of a program that has half made something, in seconds


def find(program: str) -> str | None:
    """Return the path of an installed program, also of one that is for administrators."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


@contextmanager
def started(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, and end it and all that it has started if it has not ended by then.

    It is told by SIGTERM, also where we are killed, and killed if it does not end for that.

    :param options: those of `Popen`; its stdin is empty by default.
    :raises OSError: there is no such program, or it cannot be run.
    """
    program, setpriv = shutil.which(argv[0]), shutil.which("setpriv")
    command = list(argv)
    if program and setpriv:  # else the system says what is wrong
        command = [setpriv, "--pdeathsig", "TERM", "--", program, *argv[1:]]
    process = None
    try:
        with _signals_later():
            process = subprocess.Popen(
                command,
                start_new_session=True,
                **{"stdin": subprocess.DEVNULL, **options},
            )
        yield process
    finally:
        if process is not None:
            _end(process)


@contextmanager
def _signals_later() -> Iterator[None]:
    """Have no signal's handler raise while a process is made that nobody owns yet."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def finish(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Wait for the end of a program, and return what it wrote to those of its pipes that we have.

    :raises asyncio.CancelledError: nobody waits for the work of this thread any more.
    """
    while True:
        try:
            out, err = process.communicate(timeout=_INTERVAL)
        except subprocess.TimeoutExpired:
            check_stopped()
        else:
            return out or b"", err or b""


def run(argv: Sequence[str], *, what: str, cwd: Path | None = None) -> str:
    """Run a program to its end and return what it wrote to stdout.

    :param what: the work, for the message: `what` failed.
    :raises ImageError: it is not there or failed; `detail` holds the end of its stderr.
    """
    pipe = subprocess.PIPE
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        with started(argv, cwd=cwd, env=environment, stdout=pipe, stderr=pipe) as process:
            out, err = finish(process)
    except FileNotFoundError:
        raise ImageError(f"{what} failed: {argv[0]} is not installed") from None
    except OSError as error:  # such as of a host that has no more processes for us
        raise ImageError(f"{what} failed: {argv[0]}: {error.strerror}") from error
    if process.returncode != 0:
        said = err.decode(errors="replace")
        full = " (disk full)" if "No space left on device" in said else ""
        raise ImageError(
            f"{what} failed{full}: {argv[0]} ended with status {process.returncode}",
            detail="\n".join(said.strip().splitlines()[-20:]),
        )
    return out.decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_CLEANUP_TIMEOUT)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
