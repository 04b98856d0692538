"""The spawning of QEMU: its program, the descriptors it inherits, and what it must not have."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from microvm import arches
from microvm.errors import ImageError, MicroVMError, QemuError
from microvm.log import DEBUG, Area
from microvm.qemu import cgroup, launcher
from microvm.qemu.accel import KVM
from microvm.qemu.child import Child
from microvm.qemu.command_line import (
    Inherited,
    Memory,
    QemuConfig,
    QmpRequest,
    arguments,
    descriptor_path,
    requests,
)
from microvm.qemu.confinement import bounds, launcher_options
from microvm.system.capacity import SHORTAGES

_logger = Area("qemu")

_GROUP = stat.S_IRGRP | stat.S_IWGRP
_CPUINFO = Path("/proc/cpuinfo")
_BOGOMIPS = re.compile(r"^bogomips\s*:\s*([0-9.]+)", re.MULTILINE)  # only x86 spells it so


class Launched(NamedTuple):
    """A QEMU process that has just been spawned, and our ends of its sockets; the owner ends both.

    :ivar config: the configuration that it was launched with.
    :ivar memory: the files that it restores its guest from, or saves it to: its own descriptors.
    :ivar scratch: the disk that its guest writes its root to, if there is one: our descriptor.
    :ivar base: the memory that it shares with others, if it does: our descriptor.
    :ivar at: the moment of the launch, of `time.monotonic()`, in seconds.
    :ivar files: the paths of files that it has as descriptors only, by its names for them.
    :ivar requests: what it is asked first.
    """

    config: QemuConfig
    memory: Memory | None
    scratch: int | None
    base: int | None
    at: float
    child: Child
    qmp: socket.socket
    port: socket.socket
    console: socket.socket
    stderr: socket.socket
    files: Mapping[str, Path]
    requests: Sequence[QmpRequest]

    def kill(self) -> None:
        """Kill QEMU and close our ends, where nobody has taken it over."""
        self.child.kill()
        self.child.reap()
        self.child.close()
        for ours in (self.qmp, self.port, self.console, self.stderr):
            ours.close()
        self.close_files()

    def close_files(self) -> None:
        """Close our descriptors of disk and memory, where nobody will copy them any more."""
        for file in (self.scratch, self.base):
            if file is not None:
                os.close(file)


def find_qemu(arch_name: str) -> Path:
    """Find QEMU's program on the PATH.

    :raises QemuError: it is not there.
    :raises UsageError: for an unknown architecture.
    """
    target = arches.find(arch_name)
    # Not by `shutil.which`, which takes 3 ms to import.
    paths = (Path(folder, target.qemu) for folder in os.get_exec_path() if folder)
    found = next(filter(_is_program, paths), None)
    if found is None:
        hint = f"apt install {target.qemu_package}"
        raise QemuError(f"{target.qemu} is not installed", hint=hint)
    program = found.absolute()
    return program.resolve() if ".." in program.parts else program


def ask(qmp: socket.socket, asked: Sequence[QmpRequest]) -> None:
    """Ask QEMU what it is asked first, to be read when it gets so far.

    :param qmp: our end of its socket.
    """
    qmp.send("".join(json.dumps(each.message) + "\n" for each in asked).encode())


def _is_program(path: Path) -> bool:
    with suppress(OSError):  # of a folder that we may not search
        return path.is_file() and os.access(path, os.X_OK)
    return False


def launch(
    config: QemuConfig, memory: Memory | None = None, *, scratch: int | None = None
) -> Launched:
    """Spawn QEMU with its guest stopped, or waiting to be restored.

    It is in a session of its own, where no Ctrl-C of a terminal comes, and its environment holds
    no secret of ours. All descriptors can be closed afterwards.

    :param scratch: the disk that a guest without `memory` writes its root to.
    :raises QemuError: if it, or what it needs on this host, is missing.
    :raises ImageError: if the kernel, the initramfs or the disk cannot be opened.
    :raises OSError: this process may not have what it takes, such as one more file or child.
    """
    begun = time.monotonic()
    program = find_qemu(config.arch)
    with ExitStack() as ours, ExitStack() as theirs:
        pairs = [_pair(ours, theirs) for _ in range(4)]
        qmp, port, console, stderr = (pair[0] for pair in pairs)
        disk = memory.scratch if memory else scratch
        base = memory.ram if memory and memory.saved and not memory.copied else None
        kept_disk, kept_base = _duplicate(disk, ours), _duplicate(base, ours)
        root = os.geteuid() == 0
        # Who is not root opens the device by its group, or inherits it, which QEMU 8.2 does not
        # know.
        drops_root = root and config.accel == "kvm"
        group = _group_of(KVM) if drops_root else None
        inherits = drops_root and group is None
        kvm = _open(KVM, os.O_RDWR, QemuError, theirs) if inherits else None
        inherited = Inherited(
            qmp=pairs[0][1].fileno(),
            port=pairs[1][1].fileno(),
            console=pairs[2][1].fileno(),
            kernel=_open(config.kernel, os.O_RDONLY, ImageError, theirs),
            initramfs=_open(config.initramfs, os.O_RDONLY, ImageError, theirs),
            kvm=kvm,
            disk=_open(config.disk, os.O_RDONLY, ImageError, theirs) if config.disk else None,
            scratch=disk,
            memory=memory,
        )
        asked = requests(memory)
        if config.confinement != "require":  # else when it is found to be confined
            ask(qmp, asked)
        command = [str(program), *arguments(config, inherited, tsc_khz=_tsc_khz())]
        child = spawn(
            command,
            config,
            inherited,
            stderr=pairs[3][1].fileno(),
            group=group,
            device=KVM if config.accel == "kvm" and not inherits else None,
        )
        ours.pop_all()
        files = {
            descriptor_path(inherited.kernel): config.kernel,
            descriptor_path(inherited.initramfs): config.initramfs,
        }
        return Launched(
            config=config,
            memory=memory,
            scratch=kept_disk,
            base=kept_base,
            at=begun,
            child=child,
            qmp=qmp,
            port=port,
            console=console,
            stderr=stderr,
            files=files,
            requests=asked,
        )


def spawn(
    command: Sequence[str],
    config: QemuConfig,
    inherited: Inherited,
    *,
    stderr: int,
    group: int | None = None,
    device: Path | None = None,
) -> Child:
    """Spawn a command as QEMU is spawned for that configuration: confined, where this is Linux.

    :param stderr: the descriptor that is its standard error; nothing else is a standard stream.
    :param group: see `launcher_options`; so is `device`.
    :raises ConfinementError: there is no launcher.
    :raises OSError: as `launch`.
    """
    with ExitStack() as ours, ExitStack() as theirs:
        passed, said, folder = inherited.all(), None, None
        if sys.platform == "linux":
            program = launcher.find()
            said, status = _pair(ours, theirs)
            passed = (*passed, status.fileno())
            procs = None
            if config.confinement != "off":
                with suppress(cgroup.Unavailable):
                    folder, procs = cgroup.make(bounds(config))
                    ours.callback(cgroup.remove, folder)
                    theirs.callback(os.close, procs)
                    passed = (*passed, procs)
            options = launcher_options(
                config,
                inherited,
                Path(command[0]),
                controller=os.getpid(),
                status=status.fileno(),
                root=os.geteuid() == 0,
                group=group,
                device=device,
                cgroup=procs,
            )
            command = [str(program), *options, "--", *command]
        if _logger.listens(DEBUG):
            import shlex

            _logger.debug("%s", shlex.join(command))
        spawned = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            pass_fds=passed,
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            start_new_session=True,
        )
        ours.pop_all()
        return Child(spawned, said, folder)


@contextmanager
def launch_errors() -> Iterator[None]:
    """Turn what this host does not give a start into an error that says what to do.

    :raises QemuError: the host did not give it something.
    """
    try:
        yield
    except OSError as error:
        hint = SHORTAGES.get(error.errno or 0, "")
        raise QemuError(f"cannot start QEMU: {error.strerror or error}", hint=hint) from error


def qemu_arguments(config: QemuConfig) -> list[str]:
    """Return QEMU's arguments for a machine, with 0 for each of its descriptors."""
    disk, scratch = 0 if config.disk else None, 0 if config.scratch else None
    inherited = Inherited(0, 0, 0, 0, 0, disk=disk, scratch=scratch)
    return arguments(config, inherited, tsc_khz=_tsc_khz())


def _pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return two ends of a connection, each of which has its owner; ours does not block."""
    our_end, their_end = socket.socketpair()
    our_end.setblocking(False)
    return ours.enter_context(our_end), theirs.enter_context(their_end)


def _group_of(device: Path) -> int | None:
    """Return the group by which others than root may use a device, if there is one."""
    with suppress(OSError):
        status = device.stat()
        if status.st_gid and status.st_mode & _GROUP == _GROUP:
            return status.st_gid
    return None


def _duplicate(descriptor: int | None, opened: ExitStack) -> int | None:
    if descriptor is None:
        return None
    duplicate = os.dup(descriptor)
    opened.callback(os.close, duplicate)
    return duplicate


def _open(path: Path, flags: int, failure: type[MicroVMError], opened: ExitStack) -> int:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        hint = SHORTAGES.get(error.errno or 0, "")
        raise failure(f"cannot open {path}: {error.strerror}", hint=hint) from error
    opened.callback(os.close, descriptor)
    return descriptor


@functools.cache
def _tsc_khz() -> int | None:
    """Return the frequency of an x86 host's TSC, or None.

    In MHz it is half the host's bogomips (Linux, calibrate_delay()).
    """
    with suppress(OSError):
        match = _BOGOMIPS.search(_CPUINFO.read_text())
        return match and round(float(match[1]) * 500)
    return None
