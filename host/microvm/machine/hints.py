"""Hints for a command that could not be started, or that failed.

A command fails, for example, because the image does not contain it, or because a machine has no
network.
"""

from __future__ import annotations

import re
from errno import ENOENT
from os import fsdecode
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING

from microvm.errors import StartError
from microvm.images import readymade
from microvm.options import Text
from microvm.units import format_size

if TYPE_CHECKING:
    from microvm.guest.stdio import WriteFunction

_TAIL_SIZE = 1 << 12

_KERNEL_MEMORY = 64 << 20
"""Maximum number of bytes that a guest's kernel and initramfs use: Debian's kernel needs most."""

# Messages of programs that could not look up a name, or could not reach an address. They are those
# of glibc, musl, curl and git, wget, busybox, apt, apk, pip, node, Go and Rust.
_NO_NETWORK = re.compile(
    rb"name resolution|Name or service not known|Name does not resolve|[Cc]ould not resolve host"
    rb"|unable to resolve host|bad address '|Temporary failure resolving|DNS lookup error"
    rb"|temporary error \(try again later\)|Errno -3\]|EAI_AGAIN|ENOTFOUND|no such host"
    rb"|: lookup \S+ on |failed to lookup address|[Nn]etwork (is )?unreachable"
)
_DISK_FULL = re.compile(rb"No space left on device|ENOSPC")

_KILLED = {-SIGKILL, 128 + SIGKILL}
"""Return codes of a killed command, and of a shell whose command was killed."""


def about(error: StartError, command: Text, cwd: object, copier: str) -> str:
    """Return a hint for a missing `command` or folder `cwd`, such as to copy it with `copier`.

    If no hint is known, return "".

    :param copier: Text that names the option or the method for copying files into the guest.
    """
    if error.errno != ENOENT:
        return ""
    if error.stage == "lookup":
        shown = fsdecode(command)
        name = readymade.having(shown)
        return f"the image {name} has it: `microvm run --image {name} -- {shown} …`" if name else ""
    path = {"exec": command, "chdir": cwd}.get(error.stage)
    if not isinstance(path, str | bytes | Path) or not path or not Path(fsdecode(path)).exists():
        return ""
    return f"it exists on this host, but a guest sees no files of the host: copy it with {copier}"


def wants_network(errors: bytes | bytearray) -> bool:
    """Return True if error messages of a program say that it could not reach another host."""
    return _NO_NETWORK.search(errors) is not None


class ErrorTail:
    """The end of a command's standard error, which may say why the command has failed."""

    def __init__(self) -> None:
        self._tail = b""

    def watch(self, write: WriteFunction) -> WriteFunction:
        """Return a function that passes all data on to `write`, and stores the last bytes."""

        async def watched(data: bytearray | bytes | memoryview) -> None:
            self._tail = (self._tail + bytes(data[-_TAIL_SIZE:]))[-_TAIL_SIZE:]
            await write(data)

        return watched

    def hint(
        self, returncode: int, peak: int | None, memory: int, *, copier: str, opener: str
    ) -> str:
        """Return a line that says what the machine of a failed command lacks; "" if nothing.

        :param peak: Peak memory of the command in bytes, if it is known.
        :param memory: Memory of the machine in bytes.
        :param copier: Text that names the option or command for copying files into the guest.
        :param opener: Text that names the option or command for opening a port in the guest.
        """
        if returncode == 0:
            return ""
        # When a guest has no memory left, its files can use as much memory as its commands.
        if returncode in _KILLED and peak is not None and peak * 2 >= memory - _KERNEL_MEMORY:
            return (
                f"the command was killed when it used {format_size(peak)} of memory, and the "
                f"machine has {format_size(memory)}: give it more with --memory"
            )
        if _DISK_FULL.search(self._tail):
            return "if the machine has no space left for files, give it more with --disk"
        if wants_network(self._tail):
            return (
                f"a machine has no network: copy files into it with {copier}, install packages "
                "with `microvm image build` (--package, --pip), or open a port to one server with "
                f"{opener}"
            )
        return ""
