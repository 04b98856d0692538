"""The program that starts an interpreter. Its first argument is the path of the socket to create.

When the socket listens, the first process exits, and the interpreter continues in the background.
With the second argument `--stay`, it continues in the foreground, and writes a line when the socket
listens. It then serves one host: it removes the socket when the host connects, because a killed
program could not remove it later, and exits when the host disconnects.
"""

from __future__ import annotations

import os
import socket
import sys
import types

from interpreter.keeper import Keeper
from interpreter.links import InterruptMark, WorkerLink
from interpreter.processes import adopt_orphans, kill_all, raise_priority
from interpreter.tables import STREAM_STDERR, STREAM_STDOUT
from interpreter.worker import work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

CONTROL = 255
"""The descriptor of the worker's socket. Files that cells open usually get smaller numbers."""


def listen(path: str) -> socket.socket:
    """Return a socket that listens at a path, and that only this user and root can connect to."""
    listener = socket.socket(socket.AF_UNIX)
    remove(path)
    mask = os.umask(0o177)
    listener.bind(path)
    os.umask(mask)
    listener.listen(16)
    return listener


def remove(path: str) -> None:
    """Remove a file, if it exists."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def detach() -> None:
    """Continue in a forked process in a new session. The first process exits."""
    if os.fork():
        os._exit(0)
    os.setsid()


def start_worker(mark: InterruptMark) -> tuple[int, WorkerLink, dict[int, int]]:
    """Start the worker. Return its process id, the connection to it, and its output pipes."""
    ours, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    (stdout, out), (stderr, err) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.dup2(control.fileno(), CONTROL, inheritable=False)
        become_worker(mark)
    control.close()
    for fd in (out, err):
        os.close(fd)
    return pid, WorkerLink(ours), {stdout: STREAM_STDOUT, stderr: STREAM_STDERR}


def text_stream(fd: int) -> TextIO:
    """Return a text stream that writes each line to a pipe when the line is complete."""
    return open(fd, "w", 1, "utf-8", "backslashreplace", closefd=False)


def become_worker(mark: InterruptMark) -> None:
    """Execute requests in this process until the keeper exits, and then exit."""
    os.closerange(3, CONTROL)
    sys.stdout = sys.__stdout__ = text_stream(1)  # type: ignore[misc, assignment]
    sys.stderr = sys.__stderr__ = text_stream(2)  # type: ignore[misc, assignment]
    os.environ.setdefault("MPLBACKEND", "agg")
    own = sys.modules["__main__"]
    sys.argv = [""]
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(own.__file__ or "")):
        sys.path[0] = ""
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    try:
        work(CONTROL, mark, module.__dict__)
    finally:
        os._exit(1)


def main() -> None:
    """Run the program."""
    path, is_foreground = sys.argv[1], sys.argv[2:] == ["--stay"]
    try:
        listener = listen(path)
    except OSError as error:
        sys.exit(f"interpreter: cannot listen at {path}: {error.strerror or error}")
    if is_foreground:
        print("listening", flush=True)
    else:
        detach()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    adopt_orphans()
    mark = InterruptMark()
    worker, link, pipes = start_worker(mark)
    raise_priority()
    try:
        Keeper(listener, worker, link, pipes, mark, is_foreground).serve()
    finally:
        kill_all(os.getpid())
        remove(path)


if __name__ == "__main__":
    main()
