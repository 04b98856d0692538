"""Runs tools of the system, such as `mkfs.erofs`, and kills them if this process is killed."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError, MicroVMError
from microvm.log import Area
from microvm.system import platform, private
from microvm.system.namespaces import START_FAILED

_logger = Area("image")

# Folders of system programs, which the PATH of an ordinary user often lacks.
_SYSTEM_PATH = "/usr/sbin:/sbin"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_INTERVAL = 0.1
_CLEANUP_TIMEOUT = 60.0  # maximum number of seconds to kill a tool and remove its temporary files
_KEEPER = Path(__file__).with_name("namespaces.py")
_OWN_IDS = ("unshare", "--user", "--map-root-user", "--map-auto", "--")
# Command with which `may_use_all_ids` tries to create a user namespace. The command also creates a
# mount namespace in the user namespace, because AppArmor can allow to create a user namespace, but
# deny all rights in it.
_TRY_OWN_IDS = (*_OWN_IDS, "unshare", "--mount", "--", "true")
_NOTES_LIMIT = 1 << 10


class ToolError(ImageError):
    """Error: a tool of the system, such as `mkfs.erofs`, is not installed or has failed."""


class MissingPrograms(ImageError):
    """Error: programs are not installed. The hint is the command that installs them.

    :param packages: the Debian packages that contain the programs.
    :param advice: a hint about other faults; may be empty.
    """

    def __init__(
        self, message: str, packages: Sequence[str], *, advice: str = "", detail: str = ""
    ) -> None:
        command = f"apt install {' '.join(packages)}"
        super().__init__(message, hint="; ".join(filter(None, (command, advice))), detail=detail)
        self.packages = (*packages,)
        self.advice = advice


def merged(message: str, errors: Sequence[ImageError], *, detail: str = "") -> ImageError:
    """Return one error for several `errors`, with the hints of all.

    If programs are not installed, the hint begins with one command that installs all of them.
    """
    missing = [error for error in errors if isinstance(error, MissingPrograms)]
    hints = (error.advice if isinstance(error, MissingPrograms) else error.hint for error in errors)
    hint = "; ".join(dict.fromkeys(filter(None, hints)))
    if not missing:
        return ImageError(message, hint=hint, detail=detail)
    packages = dict.fromkeys(package for error in missing for package in error.packages)
    return MissingPrograms(message, [*packages], advice=hint, detail=detail)


def find(program: str) -> str | None:
    """Return the path of a program in PATH, /usr/sbin or /sbin; None if it is not installed."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


def require(what: str, programs: Mapping[str, str]) -> None:
    """Check that `programs` are installed. The error says that `what` needs the missing programs.

    :param programs: the name of each program, and the Debian package that contains it.
    """
    if missing := [name for name in programs if shutil.which(name) is None]:
        *others, last = missing
        names, are = (f"{', '.join(others)} and {last}", "are") if others else (last, "is")
        packages = dict.fromkeys(programs[name] for name in missing)
        message = f"{what} needs {names}, which {are} not installed"
        raise MissingPrograms(message, [*packages])


def may_use_all_ids() -> bool:
    """Return whether tools may run in a user namespace with the ids of /etc/subuid and subgid.

    The parameter `all_ids` of `started` requires this.
    """
    if os.geteuid() == 0:
        return True
    quiet = subprocess.DEVNULL
    try:
        tried = subprocess.run(_TRY_OWN_IDS, check=False, stdin=quiet, stdout=quiet, stderr=quiet)
    except OSError:
        return False
    return tried.returncode == 0


@contextmanager
def started(
    argv: Sequence[str],
    *,
    temporary: Path | None = None,
    all_ids: bool = False,
    isolate: bool = True,
    executable: str | None = None,
    pass_fds: Sequence[int] = (),
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Context manager that runs the tool `argv`, and kills all processes of the tool at its end.

    The tool runs in namespaces of its own; see `namespaces`. If this process is killed, the tool is
    killed, too. The process that is yielded is not the tool, but the keeper of its namespaces. The
    keeper exits with the tool's status, or with 128 plus the number of the signal that killed the
    tool.

    :param temporary: the folder for the tool's temporary files, by default $TMPDIR. The tool gets a
        new folder in it, which is removed when the tool exits.
    :param all_ids: run the tool of an ordinary user in a user namespace, with the rights of root
        there and with the ids of /etc/subuid and /etc/subgid.
    :param isolate: False for a tool that creates its own namespaces. The tool then runs in a
        process group, and other user ids can enter its temporary folder.
    :param executable: the file to execute, by default `argv[0]`.
    """
    platform.require(platform.TOOLS, ImageError)
    program = executable or shutil.which(argv[0])
    if program is None:
        number = errno.EACCES if "/" in argv[0] and Path(argv[0]).exists() else errno.ENOENT
        raise OSError(number, os.strerror(number), argv[0])
    usual = temporary_folder()
    folder, shown = (temporary.absolute(), usual) if temporary else (usual, "")
    noted, notes = os.pipe()
    os.set_blocking(noted, False)
    process = None
    try:
        command = (
            *(_OWN_IDS if all_ids and os.geteuid() else ()),
            *(sys.executable, "-IS", _KEEPER, str(os.getpid()), str(notes), folder, shown),
            *("1" if isolate else "", program, *argv),
        )
        try:
            with _signals_later():
                process = subprocess.Popen(
                    command,
                    start_new_session=True,
                    pass_fds=(*pass_fds, notes),
                    **{"stdin": subprocess.DEVNULL, **options},
                )
        finally:
            os.close(notes)
        yield process
    finally:
        if process is not None:
            _end(process)
            # If the host refused namespaces, the pipe `noted` contains the reason. Read it without
            # waiting, because the pipe never reaches its end of file if a process of the tool
            # cannot be killed.
            with suppress(BlockingIOError):
                if note := os.read(noted, _NOTES_LIMIT).decode(errors="replace"):
                    _logger.info("%s ran %s", argv[0], note)
        os.close(noted)


def temporary_folder() -> str:
    """Return the folder for temporary files; see `private.temporary_root`."""
    try:
        return private.temporary_root()
    except MicroVMError as error:
        raise ImageError(error.message, hint=error.hint) from error


@contextmanager
def _signals_later() -> Iterator[None]:
    """Context manager that delays signal handlers while its block creates a process.

    If a handler raised an exception meanwhile, the new process would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        for late in received:
            signal.raise_signal(late)


def finish(
    process: subprocess.Popen[bytes], watch: Callable[[], object] = bool
) -> tuple[bytes, bytes]:
    """Return a program's output when it exits; until then, call `watch` repeatedly.

    The output is what the program wrote to the pipes of `process`.

    :param watch: called repeatedly while the program runs; it raises an error to end the wait.
    """
    while True:
        try:
            out, err = process.communicate(timeout=_INTERVAL)
        except subprocess.TimeoutExpired:
            check_stopped()
            watch()
        else:
            return out or b"", err or b""


def run(argv: Sequence[str], *, what: str, **options: Any) -> str:
    """Run a tool until it exits, and return the text of its stdout. Errors name the work `what`.

    :param options: options of `started`, and `watch` of :func:`finish`.
    :raises ToolError: the tool is not installed or failed; `detail` has the end of its stderr.
    :raises ImageError: the tool cannot be started, or $TMPDIR cannot be used.
    """
    return output(argv, what=what, **options).decode(errors="replace")


def output(argv: Sequence[str], *, what: str, **options: Any) -> bytes:
    """Run a tool until it exits, and return the bytes that it wrote to stdout; see `run`."""
    watch: Callable[[], object] = options.pop("watch", bool)
    pipe = subprocess.PIPE
    environment = {**options.pop("env", os.environ), "LC_ALL": "C"}
    try:
        with started(argv, env=environment, stdout=pipe, stderr=pipe, **options) as process:
            out, err = finish(process, watch)
    except FileNotFoundError:
        raise ToolError(f"{what} failed: {argv[0]} is not installed") from None
    except OSError as error:  # for example, the limit on processes is reached
        raise ImageError(f"{what} failed: {argv[0]}: {error.strerror}") from error
    if process.returncode != 0:
        errors = err.decode(errors="replace")
        full = " (disk full)" if is_full(errors) else ""
        failure = ImageError if process.returncode == START_FAILED else ToolError
        raise failure(
            f"{what} failed{full}: {argv[0]} ended with status {process.returncode}",
            detail="\n".join(errors.strip().splitlines()[-20:]),
        )
    return out


def is_full(errors: str) -> bool:
    """Tell from `errors`, the stderr of a tool, whether it failed because a disk is full."""
    return any(os.strerror(number) in errors for number in (errno.ENOSPC, errno.EDQUOT))


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        if process.poll() is None:
            process.terminate()
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
