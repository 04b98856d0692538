"""The control group (cgroup) of a machine, which limits the memory and CPU time of its QEMU.

The cgroup is a sibling of the cgroup of this process. It can only be created if this process may
write to the parent cgroup, as after systemd has delegated the parent to the user.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path

#: The mount point of the cgroup file system, by convention.
ROOT = Path("/sys/fs/cgroup")

_SELF = Path("/proc/self/cgroup")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_CONTROLLERS = {"memory", "pids"}
_V2_PREFIX = "0::"  # in /proc/self/cgroup, the line for cgroup v2 begins so; see cgroups(7)
_V2_HELP = (
    "boot with only cgroup v2: add `systemd.unified_cgroup_hierarchy=1` to the kernel command line"
)


class Unavailable(Exception):
    """No cgroup can be created for a machine. The message of this exception is the reason.

    :ivar help: Advice for the user. Empty if the advice is to start microvm in another cgroup.
    """

    def __init__(self, reason: str, help: str = "") -> None:  # noqa: A002 - as `ConfinementLayer` has it
        super().__init__(reason)
        self.help = help


def make(bounds: Mapping[str, str]) -> tuple[Path, int]:
    """Create a machine's cgroup, write `bounds` to its files, and remove left-over cgroups.

    A cgroup is left over if its microvm process was killed before it could remove the cgroup.

    :param bounds: The limits, by the names of the cgroup's files, such as `memory.max`. A limit is
        ignored if the cgroup lacks its file, because a cgroup controller is missing.
    :return: The folder of the cgroup, which the caller must remove, and an open descriptor of its
        file `cgroup.procs`. A process that writes 0 to the descriptor joins the cgroup.
    """
    parent = _parent()
    try:
        _sweep(parent)
        folder = _new(parent)
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from error
    try:
        for name, bound in bounds.items():
            with suppress(FileNotFoundError), (folder / name).open("r+") as file:
                file.write(bound)
        return folder, os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        remove(folder)
        raise Unavailable(error.strerror or str(error)) from error


def remove(folder: Path) -> None:
    """Remove a cgroup if no process is left in it."""
    with suppress(OSError):
        folder.rmdir()


def _parent() -> Path:
    """Return the folder in which we can create cgroups: the parent of this process's own cgroup."""
    try:
        if not (ROOT / "cgroup.controllers").exists():
            raise Unavailable(f"cgroup v2 is not mounted at {ROOT}", _V2_HELP)
        own = _own()
        if own == Path("/"):
            raise Unavailable(
                "this process is in the root cgroup, which can have no siblings",
                "move all processes, this one included, to cgroups below the root, as systemd does",
            )
        parent = ROOT / own.relative_to("/").parent
        enabled = set((parent / "cgroup.subtree_control").read_text().split())
        read_only = os.statvfs(parent).f_flag & os.ST_RDONLY
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error
    if not enabled >= _CONTROLLERS:
        absent = sorted(_CONTROLLERS - enabled)
        raise Unavailable(
            f"{parent} does not enable the controllers {', '.join(absent)} for its children",
            f"write `+{' +'.join(absent)}` to {parent}/cgroup.subtree_control",
        )
    if read_only:
        raise Unavailable(f"{ROOT} is read-only", "mount it writable, in a cgroup namespace")
    if not (os.access(parent, os.W_OK) and os.access(parent / "cgroup.procs", os.W_OK)):
        raise Unavailable(f"{parent} belongs to another user")
    return parent


def _own() -> Path:
    for line in _SELF.read_text().splitlines():
        if line.startswith(_V2_PREFIX):
            return Path(line.removeprefix(_V2_PREFIX))
    raise Unavailable("this host does not use cgroup v2", _V2_HELP)


def _new(parent: Path) -> Path:
    for number in count():
        folder = parent / f"{_prefix()}{os.getpid()}-{number}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


def _sweep(parent: Path) -> None:
    """Remove the cgroups of machines whose microvm process was killed before it removed them."""
    prefix = _prefix()
    for folder in parent.glob(f"{prefix}*-*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            remove(folder)


def _prefix() -> str:
    """Return the prefix of our cgroups' names, which contains the id of our PID namespace.

    The PID of the process that created the cgroup follows, and is valid in that namespace only.
    """
    return f"microvm-{_PID_NAMESPACE.stat().st_ino}-"
