"""Runs a tool of the system in namespaces, so that its processes and mounts end with the caller.

A tool is a program of the system, such as `mkfs.erofs`. Its owner is the process that starts this
script. The process of this script is the keeper of the tool's namespaces. The keeper starts the
first process of a new PID namespace and mount namespace, and this first process starts the tool.
When the tool exits, when the owner exits, or on SIGTERM, the kernel kills every process of the PID
namespace; the mount namespace is gone with them, so that nothing stays in the host's mount table.
Then the keeper removes the tool's temporary folder.

An ordinary user needs a user namespace, too. Some hosts refuse namespaces or mounts in them, as
most containers do. A child process tries both first. If it fails, the tool runs in a process group.
The keeper kills that group in the same cases, and then the processes that have left the group. If
the keeper itself is killed, the first process kills the tool and all processes that the tool has
started. Such a tool can rarely mount anything. If it can, the keeper unmounts the file systems
below the tool's temporary folder.

The script is run by its path and imports nothing of the package, because each tool waits for it.
"""

from __future__ import annotations

import codecs
import ctypes
import fcntl
import os
import select
import signal
import sys
from contextlib import suppress
from typing import NamedTuple, NoReturn

START_FAILED = 125
"""The exit status of this script if the tool could not be started. Standard error has the reason.
"""

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
    """A tool to run: a program of the system, such as `mkfs.erofs`.

    :ivar argv: its arguments; the first is the name of the tool.
    :ivar mask: the signals that are blocked in the tool.
    """

    program: str
    argv: tuple[str, ...]
    mask: set[signal.Signals]


class _Temporary(NamedTuple):
    """The folder for the temporary files of a tool.

    :ivar path: its path in the tool's mount namespace, which differs if the folder is mounted
        elsewhere there.
    """

    real: str
    path: str


def main(
    owner: str, notes: str, parent: str, shown: str, isolate: str, program: str, *argv: str
) -> int:
    """Run `program`, in namespaces if `isolate`, until it exits or the process `owner` exits.

    Return the exit status of the tool, or 128 plus the number of the signal that killed it.

    :param owner: the process id of the owner, which starts this script.
    :param notes: a descriptor to which the reason is written if the host refuses a namespace.
    :param parent: the folder in which the tool's temporary folder is created.
    :param shown: another folder under which the tool sees its temporary folder; "" for `parent`. It
        is needed if the tool starts processes of other user ids, which cannot enter `parent`.
    :param isolate: "" for a tool that creates its own namespaces. The tool then runs in a process
        group, and every user id can enter its temporary folder.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(owner):
        return START_FAILED  # the owner has already exited, so the kernel would not notify us
    os.set_inheritable(int(notes), False)
    tool = _Tool(program, argv, {*map(signal.Signals, mask)})
    try:
        temporary = _create(parent, shown, 0o700 if isolate else 0o711)
        try:
            isolated = bool(isolate) and _enter_pid_namespace(temporary, int(notes))
            if not isolated:
                temporary = _without_mount(temporary)
            return _keep(tool, temporary, int(notes), isolated=isolated)
        finally:
            _remove(temporary)
    except OSError as error:
        return _failed(error, program)


def mounts_below(folder: str) -> list[str]:
    """Return the mount points below a folder, the deepest first."""
    with open("/proc/self/mountinfo", "rb") as lines:
        points = [os.fsdecode(_unescaped(line.split()[4])) for line in lines]
    return sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True)


def unmount(path: str) -> None:
    """Detach a mount, without following a link at the end of its path."""
    mnt_detach_umount_nofollow = 2 | 8
    _check(_libc.umount2(os.fsencode(path), mnt_detach_umount_nofollow), path)


def _unescaped(field: bytes) -> bytes:
    """Decode `field`, a mount point with octal escapes instead of blanks and backslashes."""
    return codecs.unicode_escape_decode(field)[0].encode("latin-1")


def _check(result: int, path: str = "") -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def _failed(error: OSError, program: str) -> int:
    with suppress(OSError):
        os.write(2, f"{error.filename or program}: {error.strerror}\n".encode())
    return START_FAILED


def _enter_pid_namespace(temporary: _Temporary, notes: int) -> bool:
    """Create a PID namespace for our next child process, or write to `notes` why that fails.

    Return True if the namespace was created. `notes` is a descriptor.

    A process cannot leave a user namespace again. AppArmor and some containers allow namespaces,
    but refuse the map of user ids or mounts in them. So a child process tries everything first.
    """
    child = os.fork()
    if child == 0:
        _try_namespaces(temporary)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    reason = os.strerror(status) if status >= 0 else f"signal {-status}"
    if status == 0:
        try:
            _unshare_processes()
        except OSError as error:
            # The child process above has written the same uid and gid maps without an error, so
            # only the creation of the namespace can fail here: the number of namespaces is limited.
            reason = str(error.strerror)
        else:
            return True
    os.write(notes, f"without namespaces: {reason}".encode())
    return False


def _try_namespaces(temporary: _Temporary) -> NoReturn:
    """In a child process: try to enter a tool's namespaces, and exit with 0 or the errno."""
    status = 1
    try:
        _unshare_processes()
        _unshare_mounts(temporary)
        status = 0
    except OSError as error:
        status = error.errno or 1
    finally:
        os._exit(status)


def _unshare_processes() -> None:
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_CLONE_NEWPID | (_CLONE_NEWUSER if user else 0)))
    if user:
        maps = {"setgroups": "deny", "uid_map": f"{user} {user} 1", "gid_map": f"{group} {group} 1"}
        for name, text in maps.items():
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _unshare_mounts(temporary: _Temporary) -> None:
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(None, b"/", None, _MS_REC_SLAVE, None))
    if temporary.path != temporary.real:
        real, path = os.fsencode(temporary.real), os.fsencode(temporary.path)
        _check(_libc.mount(real, path, None, _MS_BIND, None), temporary.path)


def _create(parent: str, shown: str, mode: int) -> _Temporary:
    """Create a tool's temporary folder in `parent`, and a mount point for it in the folder `shown`.

    If `shown` is "", create no mount point. This process holds a lock on both folders until it
    exits. So no other process takes them for the folders of a killed tool and removes them.
    """
    while True:
        name = f"microvm-{os.urandom(8).hex()}"
        real, path = os.path.join(parent, name), os.path.join(shown or parent, name)
        os.mkdir(real, 0o700)
        if not _lock(real):
            continue
        # The tool's processes of other user ids enter the folder by its mount point in `shown`, so
        # its mode is 0755. The tool's namespace alone has this mount, and other users cannot enter
        # `parent`. So nobody else can enter the folder.
        os.chmod(real, 0o755 if shown else mode)
        if path != real:
            try:
                os.mkdir(path, 0o700)
                if not _lock(path):
                    path = real
            except OSError:
                path = real
        return _Temporary(real, path)


def _lock(folder: str) -> bool:
    """Lock a folder until this process exits. Return False if somebody has just removed it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    with suppress(OSError):  # ignore the error of a file system that does not support locks
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    return os.path.exists(folder)


def _without_mount(temporary: _Temporary) -> _Temporary:
    """Remove the mount point of a temporary folder, because the tool gets no mount namespace.

    Return the temporary folder, whose path is then `real` for the tool, too.
    """
    if temporary.path != temporary.real:
        with suppress(OSError):
            os.rmdir(temporary.path)
        os.chmod(temporary.real, 0o700)
    return _Temporary(temporary.real, temporary.real)


def _remove(temporary: _Temporary) -> None:
    """Unmount the file systems that a tool left in its temporary folder, and remove the folder.

    If a file system in the folder cannot be unmounted, remove nothing, because that could remove
    the files of the mounted file system.
    """
    if temporary.path != temporary.real:
        with suppress(OSError):
            os.rmdir(temporary.path)
    with suppress(OSError):
        os.rmdir(temporary.real)  # this is enough for most tools, which leave the folder empty
    if not os.path.lexists(temporary.real):
        return
    real = os.path.realpath(temporary.real)
    for point in mounts_below(real):
        with suppress(OSError):
            unmount(point)
    if not mounts_below(real):
        # We do not import `shutil`, because in a user namespace this process may be unable to read
        # Python's modules.
        with suppress(OSError):
            _empty(temporary.real)
            os.rmdir(temporary.real)


def _empty(folder: str) -> None:
    """Remove everything in a folder, without following links."""
    for _, folders, files, descriptor in os.fwalk(folder, topdown=False):
        for name in files:
            os.unlink(name, dir_fd=descriptor)
        for name in folders:
            try:
                os.rmdir(name, dir_fd=descriptor)
            except NotADirectoryError:
                os.unlink(name, dir_fd=descriptor)


def _keep(tool: _Tool, temporary: _Temporary, notes: int, *, isolated: bool) -> int:
    """Start the first process of a tool, in its namespaces if `isolated`; return its exit status.

    This function runs in the keeper. On SIGTERM, which the kernel sends when the owner exits, it
    kills all processes of the tool. If the host refuses a new /proc, the reason is written to the
    descriptor `notes`.
    """
    alive, ours = os.pipe()
    if not isolated:  # then orphans, whose parents have exited, become children of this process
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
    """Kill our children. Their children then become our children, and are killed, too."""
    # Some kernels do not list the children of a process, so they have no file `children`. Then kill
    # nothing.
    with suppress(FileNotFoundError):
        while True:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                children = [int(child) for child in file.read().split()]
            if not children:
                break
            for child in children:  # kill all of them before the wait, because one may not exit
                os.kill(child, signal.SIGKILL)
            for child in children:
                os.waitpid(child, 0)


def _exit_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _run_first(
    tool: _Tool, temporary: _Temporary, alive: int, notes: int, *, isolated: bool
) -> NoReturn:
    """In a tool's first process: start the tool, wait until it exits, and exit with its status.

    :param alive: the read end of a pipe, which reaches its end of file when the keeper exits.
    """
    status = START_FAILED
    try:
        # Ask the kernel for a signal when the keeper, our parent, exits. In a PID namespace,
        # SIGKILL is enough, because the kernel kills all processes of the namespace when its first
        # process exits. Without the namespace, this process has to kill the tool's processes, so it
        # needs a signal that it can handle: SIGTERM.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if isolated else signal.SIGTERM)
        poll = select.poll()
        poll.register(alive, select.POLLIN)
        # We have asked the kernel for a signal when the keeper exits. If the pipe `alive` is at its
        # end of file, the keeper exited before that, so no signal will arrive. Then do not start
        # the tool.
        if not poll.poll(0):
            os.setsid()  # a tool that signals its own process group must not reach the keeper
            if isolated:
                _enter_mount_namespace(temporary, notes)
            else:
                _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
            os.environ["TMPDIR"] = temporary.path
            child = os.fork()
            if child == 0:
                _execute(tool)
            _let_go_of_streams()
            status = _wait_inside(child) if isolated else _wait_outside(child, poll)
    except OSError as error:
        status = _failed(error, tool.program)
    finally:
        os._exit(status)


def _wait_inside(child: int) -> int:
    """Wait in a tool's PID namespace until the tool `child` exits; return its exit status."""
    pid = 0
    while pid != child:  # other child processes are orphans: their parents have exited
        pid, code = os.wait()
    return _exit_status(code)


def _wait_outside(child: int, keeper: select.poll) -> int:
    """Wait until a tool without PID namespace exits, or kill it if our parent, the keeper, exits.

    Return the exit status of the tool. The keeper is the process that started this one. If it is
    killed, kill the tool and all processes that the tool has started.

    :param keeper: a poll object that reports an event if the keeper has exited. A SIGTERM does not
        tell that, because the tool can send one to its process group.
    """
    while True:
        if signal.sigwait(_ENDS) == signal.SIGTERM and keeper.poll(0):
            _kill_orphans()
            return START_FAILED
        pid = -1
        with suppress(ChildProcessError):
            while pid:
                pid, code = os.waitpid(-1, os.WNOHANG)
                if pid == child:
                    return _exit_status(code)


def _enter_mount_namespace(temporary: _Temporary, notes: int) -> None:
    """Create a mount namespace with its own /proc; write to `notes` if the host refuses that."""
    _unshare_mounts(temporary)
    if _libc.mount(b"proc", b"/proc", b"proc", _MS_NOSUID_NODEV_NOEXEC, None) != 0:
        # The kernel refuses a new /proc in a container that hides some of /proc. The tool then sees
        # the processes of the container in /proc.
        os.write(notes, f"without a /proc of its own: {os.strerror(ctypes.get_errno())}".encode())


def _execute(tool: _Tool) -> NoReturn:
    try:
        # Python ignores SIGPIPE and SIGXFSZ, but tools need the default effects of these signals.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, tool.mask)
        os.execv(tool.program, tool.argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        _failed(error, tool.program)
    finally:
        os._exit(START_FAILED)


def _let_go_of_streams() -> None:
    """Replace our standard streams by /dev/null, so that a pipe ends when the tool closes it.

    Otherwise this process would keep the pipe open.
    """
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
