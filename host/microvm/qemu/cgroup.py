"""The control group of a machine, by which Linux bounds all that its QEMU takes together.

It lies beside the group that we are in, where the group above both is ours to change, as systemd
delegates it to users.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path

#: Where Linux has its groups, by convention.
ROOT = Path("/sys/fs/cgroup")

_SELF = Path("/proc/self/cgroup")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_WANTED = {"memory", "pids"}
_OURS = "0::"  # what version 2 has, cgroups(7)
_V2_HELP = (
    "boot with cgroup v2 alone: `systemd.unified_cgroup_hierarchy=1` on the kernel's command line"
)


class Unavailable(Exception):
    """There can be no such group here; the text says why.

    :ivar help: what to do about it; empty where that is to be started in another group.
    """

    def __init__(self, reason: str, help: str = "") -> None:  # noqa: A002 - as `ConfinementLayer` has it
        super().__init__(reason)
        self.help = help


def make(bounds: Mapping[str, str]) -> tuple[Path, int]:
    """Make a group with bounds; what others have left behind goes.

    :param bounds: what is written to its files; those of a controller that is not there are not.
    :return: its folder, to be removed, and a descriptor by which a process joins it that writes 0.
    :raises Unavailable: none can be made.
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
    """Remove a group in which nothing lives any more; one in which something does stays."""
    with suppress(OSError):
        folder.rmdir()


def _parent() -> Path:
    """Return the group above ours."""
    try:
        if not (ROOT / "cgroup.controllers").exists():
            raise Unavailable(f"{ROOT} is no cgroup v2", _V2_HELP)
        own = _own()
        if own == Path("/"):
            raise Unavailable(
                "we are in the topmost group, beside which there is none",
                "have what runs here, this included, in groups below that one, as systemd does",
            )
        parent = ROOT / own.relative_to("/").parent
        enabled = set((parent / "cgroup.subtree_control").read_text().split())
        read_only = os.statvfs(parent).f_flag & os.ST_RDONLY
    except OSError as error:
        raise Unavailable(f"{error.filename}: {error.strerror}") from error
    if not enabled >= _WANTED:
        wanting = sorted(_WANTED - enabled)
        raise Unavailable(
            f"{parent} has no {', '.join(wanting)} for its groups",
            f"write `+{' +'.join(wanting)}` into {parent}/cgroup.subtree_control",
        )
    if read_only:
        raise Unavailable(f"{ROOT} is read-only", "mount it for writing, in a cgroup namespace")
    if not (os.access(parent, os.W_OK) and os.access(parent / "cgroup.procs", os.W_OK)):
        raise Unavailable(f"{parent} is another's")
    return parent


def _own() -> Path:
    for line in _SELF.read_text().splitlines():
        if line.startswith(_OURS):
            return Path(line.removeprefix(_OURS))
    raise Unavailable("this host has no cgroup v2", _V2_HELP)


def _new(parent: Path) -> Path:
    for number in count():
        folder = parent / f"{_prefix()}{os.getpid()}-{number}"
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
    raise AssertionError


def _sweep(parent: Path) -> None:
    """Remove the groups of controllers that were killed."""
    prefix = _prefix()
    for folder in parent.glob(f"{prefix}*-*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            remove(folder)


def _prefix() -> str:
    """Return how the groups of controllers begin whose process ids mean what they mean to us."""
    return f"microvm-{_PID_NAMESPACE.stat().st_ino}-"
