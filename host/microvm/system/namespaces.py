"""The namespaces of a tool, as a script: the tool, its children and its mounts end with its owner.

The owner is the process that starts this script, and the script is the keeper of one tool. The
keeper starts the first process of a new PID namespace and mount namespace, and that one starts the
tool. When the tool exits, when the owner exits, or on SIGTERM, the kernel kills every process of
the PID namespace; the mount namespace is gone with them, so that nothing stays in the host's mount
table. Then the keeper removes the tool's temporary folder.

An ordinary user needs a user namespace, too. Some hosts refuse namespaces, as most containers do.
The tool then runs in a process group. The keeper kills that group in the same cases, and then the
processes that have left the group. A process that may not create a mount namespace may not mount
anything either, so no mount is left in that case.

The script is run by its path and imports nothing of the package, because each tool waits for it.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import select
import signal
import sys
from contextlib import suppress
from typing import NamedTuple, NoReturn

START_FAILED = 125
"""The exit status if the tool could not be started. Standard error has the reason."""

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000
_MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
_MS_BIND = 1 << 12
_MS_REC_SLAVE = 1 << 14 | 1 << 19
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ENDS = {signal.SIGTERM, signal.SIGCHLD}

_libc = ctypes.CDLL(None, use_errno=True)


class _Tool(NamedTuple):
    """A tool to run.

    :ivar program: its path.
    :ivar argv: its arguments; the first is the name of the tool.
    :ivar mask: the signals that are blocked in the tool.
    """

    program: str
    argv: tuple[str, ...]
    mask: set[signal.Signals]


class _Temporary(NamedTuple):
    """The folder for the temporary files of a tool.

    :ivar real: its path on the host.
    :ivar path: its path in the tool's mount namespace, which differs if the folder is mounted
        elsewhere there.
    """

    real: str
    path: str


def main(owner: str, notes: str, parent: str, shown: str, program: str, *argv: str) -> int:
    """Run a tool. Return its exit status, or 128 plus the number of the signal that killed it.

    :param owner: the process id of the owner.
    :param notes: a descriptor to which the reason is written if the host refuses a namespace.
    :param parent: the folder in which the tool's temporary folder is created.
    :param shown: another folder under which the tool sees its temporary folder; "" for the same. It
        is needed if the tool starts processes of other user ids, which cannot enter `parent`.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(owner):
        return START_FAILED  # the owner exited before the kernel was asked to notify us of that
    os.set_inheritable(int(notes), False)
    tool = _Tool(program, argv, {*map(signal.Signals, mask)})
    try:
        isolated = _enter_pid_namespace(int(notes))
        temporary = _create(parent, shown if isolated else "")
        try:
            return _keep(tool, temporary, int(notes), isolated=isolated)
        finally:
            _remove(temporary)
    except OSError as error:
        return _failed(error, program)


def mounts_below(folder: str) -> list[str]:
    """Return the mount points below a folder, the deepest first.

    :param folder: its real path.
    """
    with open("/proc/self/mountinfo", "rb") as lines:
        points = [os.fsdecode(_unescaped(line.split()[4])) for line in lines]
    return sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True)


def unmount(path: str) -> None:
    """Detach a mount, without following a link at the end of its path.

    :raises OSError: the kernel refuses.
    """
    mnt_detach_umount_nofollow = 2 | 8
    _check(_libc.umount2(os.fsencode(path), mnt_detach_umount_nofollow), path)


def _unescaped(field: bytes) -> bytes:
    """Return a mount point without the octal escapes that stand for its blanks and backslashes."""
    return codecs.unicode_escape_decode(field)[0].encode("latin-1")


def _check(result: int, path: str = "") -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def _failed(error: OSError, program: str) -> int:
    with suppress(OSError):
        os.write(2, f"{error.filename or program}: {error.strerror}\n".encode())
    return START_FAILED


def _enter_pid_namespace(notes: int) -> bool:
    """Create a PID namespace for our next child process; return False if the host refuses."""
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_CLONE_NEWPID | (_CLONE_NEWUSER if user else 0)) != 0:
        os.write(notes, f"without namespaces: {os.strerror(ctypes.get_errno())}".encode())
        return False
    if user:
        maps = {
            "setgroups": "deny",
            "uid_map": f"{user} {user} 1",
            "gid_map": f"{group} {group} 1",
        }
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    return True


def _create(parent: str, shown: str) -> _Temporary:
    name = f"microvm-{os.urandom(8).hex()}"
    real, path = os.path.join(parent, name), os.path.join(shown or parent, name)
    os.mkdir(real, 0o700)
    if shown:
        os.chmod(real, 0o755)  # noqa: S103 - only its owner can enter its parent
        try:
            os.mkdir(path, 0o700)
        except OSError:
            path = real
    return _Temporary(real, path)


def _remove(temporary: _Temporary) -> None:
    """Remove the temporary folder, but nothing while a file system is mounted in it."""
    if temporary.path != temporary.real:
        with suppress(OSError):
            os.rmdir(temporary.path)
    with suppress(OSError):
        os.rmdir(temporary.real)  # this is enough for most tools, which leave the folder empty
    if os.path.lexists(temporary.real) and not mounts_below(os.path.realpath(temporary.real)):
        # Without shutil, because in a user namespace this process may be unable to read Python's
        # modules.
        with suppress(OSError):
            _empty(temporary.real)
            os.rmdir(temporary.real)


def _empty(folder: str) -> None:
    """Remove everything in a folder, and follow no links."""
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in files:
            os.unlink(name, dir_fd=descriptor)
        for name in folders:
            try:
                os.rmdir(name, dir_fd=descriptor)
            except NotADirectoryError:
                os.unlink(name, dir_fd=descriptor)


def _keep(tool: _Tool, temporary: _Temporary, notes: int, *, isolated: bool) -> int:
    """Start the first process, wait until the tool exits, and kill all processes on SIGTERM.

    The kernel sends SIGTERM when the owner exits.
    """
    alive, ours = os.pipe()
    if not isolated:  # children whose parents exit become children of this process
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    first = os.fork()
    if first == 0:
        os.close(ours)
        _run_first(tool, temporary, alive, notes, isolated=isolated)
    _let_go_of_streams()
    while True:
        if signal.sigwait(_ENDS) == signal.SIGTERM:
            os.kill(first, signal.SIGKILL)
        pid, status = os.waitpid(first, os.WNOHANG)
        if pid:
            if not isolated:
                with suppress(ProcessLookupError):
                    os.killpg(first, signal.SIGKILL)
                _kill_orphans()
            return _exit_status(status)


def _kill_orphans() -> None:
    with suppress(FileNotFoundError):  # the kernel may be built without lists of children
        while children := _read(f"/proc/self/task/{os.getpid()}/children").split():
            for child in map(int, children):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _run_first(
    tool: _Tool, temporary: _Temporary, alive: int, notes: int, *, isolated: bool
) -> NoReturn:
    """Run as the first process of the namespaces: start the tool, and exit after it.

    :param alive: the read end of a pipe; the keeper alone has the write end.
    """
    status = START_FAILED
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        poll = select.poll()
        poll.register(alive, select.POLLIN)
        # otherwise the keeper was killed before the kernel was asked to notify us
        if not poll.poll(0):
            os.setsid()  # a tool that signals its own process group must not reach the keeper
            if isolated:
                _enter_mount_namespace(temporary, notes)
            os.environ["TMPDIR"] = temporary.path
            child = os.fork()
            if child == 0:
                _execute(tool)
            _let_go_of_streams()
            pid = 0
            while pid != child:  # the other ones are children whose parents have exited
                pid, code = os.wait()
            status = _exit_status(code)
    except OSError as error:
        status = _failed(error, tool.program)
    finally:
        os._exit(status)


def _enter_mount_namespace(temporary: _Temporary, notes: int) -> None:
    """Create a mount namespace with its own /proc; mounts in it do not reach the host."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, _MS_REC_SLAVE, None))
    if temporary.path != temporary.real:
        real, path = os.fsencode(temporary.real), os.fsencode(temporary.path)
        _check(_libc.mount(real, path, None, _MS_BIND, None), temporary.path)
    if _libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID_NODEV_NOEXEC, None) != 0:
        # The kernel refuses a new /proc in a container that hides some of /proc. The tool sees the
        # processes of the container there.
        os.write(notes, f"without a /proc of its own: {os.strerror(ctypes.get_errno())}".encode())


def _execute(tool: _Tool) -> NoReturn:
    try:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, tool.mask)
        os.execv(tool.program, tool.argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _failed(error, tool.program)
    finally:
        os._exit(START_FAILED)


def _let_go_of_streams() -> None:
    """Close our standard streams, so that the other side of each sees when the tool closes it."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
