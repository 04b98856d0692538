"""The platform of this host: its system, its processor, and the functions that only Linux has.

No other module uses these functions of Linux directly. `make lint` checks that with the types of
macOS, and `tests/project/test_platforms.py` checks that no other module asks for the system.

This module imports very little, because `microvm exec` uses it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from microvm.errors import MicroVMError

if sys.platform == "linux":
    O_PATH = os.O_PATH
else:
    O_PATH = os.O_RDONLY
"""The flag for open(2) to open a file that this process may not read. Other systems lack it, so the
file must be readable there."""

PROC = "/proc"
"""The folder in which Linux shows processes and properties of the host. Other systems lack it."""

_NAMES = {"linux": "Linux", "darwin": "macOS"}
_MFD_EXEC = 0x10  # a flag of memfd_create(2), known since Linux 6.3


class Feature:
    """A feature of microvm that only hosts with Linux have.

    :ivar name: a word that distinguishes the features.
    :ivar failed: the message for hosts without the feature.
    :ivar needs: the functions of Linux that the feature needs.
    :ivar hint: what users of other systems can do instead.
    """

    def __init__(self, name: str, *, failed: str, needs: str, hint: str) -> None:
        self.name = name
        self.failed = failed
        self.needs = needs
        self.hint = hint


_ELSEWHERE = "or use a host that runs Linux"

CLONES = Feature(
    "clones",
    failed="guests can be neither cloned nor saved",
    needs="files in memory (memfd_create)",
    hint=f"start a new machine instead, {_ELSEWHERE}",
)
NAMES = Feature(
    "names",
    failed="machines cannot have names",
    needs="pidfd_open and SO_PEERCRED, which identify the process of a machine",
    hint=f"use `microvm run` instead, {_ELSEWHERE}",
)
CONFINEMENT = Feature(
    "confinement",
    failed="QEMU cannot be confined",
    needs="Landlock, seccomp and namespaces",
    hint=f"use --confinement auto, which starts QEMU without confinement, {_ELSEWHERE}",
)
TOOLS = Feature(
    "tools",
    failed="the programs that build images cannot run",
    needs="prctl and namespaces, which end these programs together with microvm",
    hint="install the guest pack, or build the image on a host that runs Linux, and copy it by "
    "`microvm image export`",
)
FEATURES = (CLONES, NAMES, CONFINEMENT, TOOLS)
"""All features of microvm that only hosts with Linux have."""


def system() -> str:
    """Return the name of the host's operating system in `sys.platform`, such as `linux`."""
    return sys.platform


def name() -> str:
    """Return the name of the host's operating system for messages, such as `Linux`."""
    return _NAMES.get(system()) or os.uname().sysname


def machine() -> str:
    """Return the name of the host's processor architecture, as `uname -m` prints it.

    Systems use different names for one architecture. `arches.native` returns the one of Linux.
    """
    return os.uname().machine


def kernel() -> tuple[str, str]:
    """Return the release and the build of the host's kernel, as `uname -r` and `uname -v` print."""
    host = os.uname()
    return host.release, host.version


def proc(file: str) -> str:
    """Return the content of a file in `PROC`; empty if this process cannot read it."""
    try:
        with open(f"{PROC}/{file}", errors="replace") as content:
            return content.read()
    except OSError:
        return ""


def compiles_for_guests() -> bool:
    """Return whether the host's own compilers create programs for guests, which run Linux."""
    return system() == "linux"


def lack(feature: Feature) -> str:
    """Return why this host lacks a feature, for a message; empty if it has the feature."""
    if system() == "linux":
        return ""
    return f"{feature.failed} on this host, because {name()} lacks {feature.needs}"


def require(feature: Feature, error: type[MicroVMError] | None = None) -> None:
    """Check that this host has a feature.

    :param error: the class of the error; by default `MicroVMError`.
    :raises MicroVMError: the host lacks the feature. The hint says what to do instead.
    """
    if why := lack(feature):
        from microvm.errors import MicroVMError

        raise (error or MicroVMError)(why, hint=feature.hint)


def how_to_install(debian: str, homebrew: str, *, sudo: str = "") -> str:
    """Return the command that installs a package, by its name in Debian and in Homebrew.

    :param sudo: the beginning of the command if it needs root, such as "sudo ".
    """
    return f"brew install {homebrew}" if system() == "darwin" else f"{sudo}apt install {debian}"


def missing(function: str) -> OSError:
    """Return the error for a function that only Linux has, such as `memfd_create`."""
    from errno import ENOSYS

    return OSError(ENOSYS, f"{name()} lacks {function}")


def memory_file(label: str, *, sealable: bool = False, executable: bool = False) -> int:
    """Create a file in memory that has no name, and return its descriptor.

    :param label: the text that /proc shows for the file.
    :param sealable: allow `seal`.
    :param executable: allow the execution of the file.
    """
    if sys.platform == "linux":
        flags = os.MFD_CLOEXEC | (os.MFD_ALLOW_SEALING if sealable else 0)
        if executable:
            # Kernels before 6.3 lack MFD_EXEC. On these, every file in memory can be executed.
            try:
                return os.memfd_create(label, flags | _MFD_EXEC)
            except OSError:
                pass
        try:
            return os.memfd_create(label, flags)
        except OSError as error:  # for example, the filter of a container forbids the call
            raise OSError(error.errno, f"memfd_create: {error.strerror}") from None
    raise missing("memfd_create")


def seal(file: int) -> None:
    """Forbid all writes to a file in memory, and all changes of its size."""
    if sys.platform == "linux":
        import fcntl

        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    else:
        raise missing("F_ADD_SEALS")


def reserve(file: int, size: int) -> None:
    """Reserve space on the disk for the first `size` bytes of a file."""
    if sys.platform == "linux":
        os.posix_fallocate(file, 0, size)
    else:
        raise missing("posix_fallocate")


def open_process(process: int) -> int:
    """Return a pidfd, a descriptor that refers to a process even after its id is used again."""
    if sys.platform == "linux":
        return os.pidfd_open(process)
    raise missing("pidfd_open")


def kill_process(pidfd: int) -> None:
    """Kill the process of a pidfd by SIGKILL."""
    if sys.platform == "linux":
        import signal

        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    else:
        raise missing("pidfd_send_signal")


def limits(process: int, kind: int, bounds: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the soft and hard limit of a resource of a process, as prlimit(2) does.

    If `bounds` is given, also set these limits as the new ones, and return the previous limits.
    """
    if sys.platform == "linux":
        import resource

        return resource.prlimit(process, kind, *([bounds] if bounds else []))
    raise missing("prlimit")


def is_stopped_child(process: int) -> bool:
    """Return whether a signal such as SIGSTOP has stopped a child process."""
    if sys.platform == "linux":
        return os.waitid(os.P_PID, process, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    raise missing("waitid")


def peer(connected: socket.socket) -> tuple[int, int]:
    """Return the process id and the user id of the peer of a Unix socket."""
    if sys.platform == "linux":
        from socket import SO_PEERCRED, SOL_SOCKET

        data = connected.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)  # struct ucred in unix(7)
        process, user = (int.from_bytes(data[at : at + 4], sys.byteorder) for at in (0, 4))
        return process, user
    raise missing("SO_PEERCRED")


def receiving_flags() -> int:
    """Return the flags with which recvmsg(2) receives descriptors that no program inherits."""
    if sys.platform == "linux":
        from socket import MSG_CMSG_CLOEXEC

        return MSG_CMSG_CLOEXEC
    raise missing("MSG_CMSG_CLOEXEC")


def hangup_event() -> int:
    """Return the event of poll(2) that means that the peer has closed its side of a connection."""
    if sys.platform == "linux":
        from select import POLLRDHUP

        return POLLRDHUP
    raise missing("POLLRDHUP")


def since_boot() -> float:
    """Return the number of seconds since the host booted, including those while it slept."""
    if sys.platform == "linux":
        import time

        return time.clock_gettime(time.CLOCK_BOOTTIME)
    raise missing("CLOCK_BOOTTIME")


def descriptor_path(descriptor: int) -> str:
    """Return the path of an open file of this process. On Linux, it opens the file once more."""
    return f"/proc/self/fd/{descriptor}" if system() == "linux" else f"/dev/fd/{descriptor}"


def forbids_execution(path: Path) -> bool:
    """Return whether programs in the file system of `path` cannot be executed; see mount(8)."""
    forbidden = False
    if sys.platform == "linux":
        forbidden = bool(os.statvfs(path).f_flag & os.ST_NOEXEC)
    return forbidden


def attributes(path: Path, prefixes: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """Return the extended attributes of a file whose names begin with one of `prefixes`."""
    found: list[tuple[str, bytes]] = []
    if sys.platform == "linux":
        for each in os.listxattr(path, follow_symlinks=False):
            if each.startswith(prefixes):
                found.append((each, os.getxattr(path, each, follow_symlinks=False)))
    return found
