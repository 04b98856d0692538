"""Spawns QEMU: finds its program, and chooses its descriptors and environment variables."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import socket
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from errno import EACCES
from pathlib import Path
from typing import NamedTuple

from microvm import arches
from microvm.arches import ACCELERATORS
from microvm.errors import ConfinementError, ImageError, MicroVMError, QemuError
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
from microvm.system import platform
from microvm.system.capacity import SHORTAGES

_logger = Area("qemu")

_GROUP = stat.S_IRGRP | stat.S_IWGRP
_BOGOMIPS = re.compile(r"^bogomips\s*:\s*([0-9.]+)", re.MULTILINE)  # only x86 has it in lower case


class Launched(NamedTuple):
    """A QEMU process that has just been spawned, and our ends of its sockets.

    The owner must kill the process and close the sockets.

    :ivar memory: Files from which QEMU restores its guest, or to which it saves the guest, by their
        descriptors in QEMU. In this process, the descriptors may be closed.
    :ivar scratch: Our descriptor of the scratch disk; None if there is none.
    :ivar base: Our descriptor of the memory that the guest shares with other clones; None if it
        shares none.
    :ivar started_at: Time of the launch by `time.monotonic()`, in seconds.
    :ivar files: Real path of each file, by the path /dev/fd/N that QEMU's messages contain.
    :ivar requests: QMP requests that start the guest.
    """

    config: QemuConfig
    memory: Memory | None
    scratch: int | None
    base: int | None
    started_at: float
    child: Child
    qmp: socket.socket
    port: socket.socket
    console: socket.socket
    stderr: socket.socket
    files: Mapping[str, Path]
    requests: Sequence[QmpRequest]

    def kill(self) -> None:
        """Kill and reap QEMU, and close our ends of its sockets, and our descriptors of files."""
        self.child.kill()
        self.child.reap()
        self.child.close()
        for each in (self.qmp, self.port, self.console, self.stderr):
            each.close()
        self.close_files()

    def close_files(self) -> None:
        """Close our descriptors of the scratch disk and of the shared memory."""
        for file in (self.scratch, self.base):
            if file is not None:
                os.close(file)


def find_qemu(arch_name: str) -> Path:
    """Find QEMU's program for an architecture in PATH, and return its path.

    :raises QemuError: QEMU is not installed, or we may not execute it. In the second case, the
        error has a cause.
    """
    target = arches.find(arch_name)
    install = platform.how_to_install(target.qemu_package, "qemu")
    denied: OSError | None = None
    # We do not use `shutil.which`, because importing `shutil` takes 3 ms.
    for path in (Path(folder, target.qemu) for folder in os.get_exec_path() if folder):
        try:
            if _is_program(path):
                program = path.absolute()
                return program.resolve() if ".." in program.parts else program
        except OSError as error:
            denied = denied or error
    if denied is None:
        raise QemuError(f"{target.qemu} is not installed", hint=install)
    raise QemuError(
        f"cannot execute {denied.filename}: {denied.strerror}",
        hint=f"check its permissions and those of its folders, or {install}",
    ) from denied


def send_requests(qmp: socket.socket, asked: Sequence[QmpRequest]) -> None:
    """Send QEMU its first QMP requests, `asked`. QEMU reads them as soon as it has started."""
    qmp.send("".join(json.dumps(each.message) + "\n" for each in asked).encode())


def _is_program(path: Path) -> bool:
    """Return True if a path is a program that we may execute; False if it is no file.

    :raises OSError: We may not execute the file, or not search its folder.
    """
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    # Without `effective_ids`, the kernel ignores our capabilities, and may deny what we may do.
    if is_file and not os.access(path, os.X_OK, effective_ids=True):
        raise PermissionError(EACCES, os.strerror(EACCES), str(path))
    return is_file


def launch(
    config: QemuConfig, memory: Memory | None = None, *, scratch: int | None = None
) -> Launched:
    """Spawn QEMU with the files of a guest's memory, and `scratch`, the descriptor of its disk.

    QMP requests start or restore the guest; this function does not wait for that. QEMU runs in its
    own session, so Ctrl-C on the terminal does not reach it. It gets none of our environment
    variables except PATH. The caller may close `memory` and `scratch` afterwards.

    :param memory: Files of the guest to restore, or to which it is saved; None for neither.
    :param scratch: Descriptor of the scratch disk, if `memory` is None; None for no scratch disk.
    :raises QemuError: QEMU is not installed, we may not execute it, or /dev/kvm cannot be opened.
    :raises OSError: The host refused a resource, such as another open file or process.
    """
    started_at = time.monotonic()
    program = find_qemu(config.arch)
    with ExitStack() as on_failure, ExitStack() as temporary:
        pairs = [_pair(on_failure, temporary) for _ in range(4)]
        qmp, port, console, stderr = (pair[0] for pair in pairs)
        disk = memory.scratch if memory else scratch
        base = memory.ram if memory and memory.saved and not memory.copied else None
        kept_disk, kept_base = (
            None if each is None else duplicate(each, on_failure) for each in (disk, base)
        )
        root = os.geteuid() == 0
        # If this process is root, the launcher gives QEMU another uid. QEMU then opens /dev/kvm
        # with the rights of the device's group. If that is the group of root, QEMU inherits an open
        # descriptor instead. This is the last resort, because QEMU 8.2 cannot use a descriptor.
        device = KVM if ACCELERATORS[config.accel].device else None
        drops_root = root and device is not None
        group = _group_of(KVM) if drops_root else None
        inherits = drops_root and group is None
        kvm = _open(KVM, os.O_RDWR, QemuError, temporary) if inherits else None
        inherited = Inherited(
            qmp=pairs[0][1].fileno(),
            port=pairs[1][1].fileno(),
            console=pairs[2][1].fileno(),
            kernel=_open(config.kernel, os.O_RDONLY, ImageError, temporary),
            initramfs=_open(config.initramfs, os.O_RDONLY, ImageError, temporary),
            kvm=kvm,
            disk=_open(config.disk, os.O_RDONLY, ImageError, temporary) if config.disk else None,
            scratch=disk,
            memory=memory,
        )
        asked = requests(memory)
        # With `--confinement require`, the guest starts only when we know that QEMU is confined.
        if config.confinement != "require":
            send_requests(qmp, asked)
        command = [str(program), *arguments(config, inherited, tsc_khz=_tsc_khz())]
        child = spawn(
            command,
            config,
            inherited,
            stderr=pairs[3][1].fileno(),
            group=group,
            device=None if inherits else device,
        )
        on_failure.pop_all()
        return Launched(
            config=config,
            memory=memory,
            scratch=kept_disk,
            base=kept_base,
            started_at=started_at,
            child=child,
            qmp=qmp,
            port=port,
            console=console,
            stderr=stderr,
            files={
                descriptor_path(inherited.kernel): config.kernel,
                descriptor_path(inherited.initramfs): config.initramfs,
            },
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
    """Spawn a command, such as QEMU, with the descriptors `inherited`. On Linux, confine it.

    :param stderr: Descriptor for the command's standard error. The other standard streams are
        /dev/null.
    :param group: The only group that the command keeps, if this process is root.
    :param device: Path of the device that accelerates the guest; None under emulation.
    :raises ConfinementError: The confinement is required, and this system cannot confine.
    :raises OSError: The host refused a resource, such as another process.
    """
    if config.confinement == "require":
        platform.require(platform.CONFINEMENT, ConfinementError)
    with ExitStack() as on_failure, ExitStack() as temporary:
        passed, said, folder = inherited.all(), None, None
        if not platform.lack(platform.CONFINEMENT):
            program = launcher.find()
            said, status = _pair(on_failure, temporary)
            passed = (*passed, status.fileno())
            procs = None
            if config.confinement != "off":
                with suppress(cgroup.Unavailable):
                    folder, procs = cgroup.make(bounds(config))
                    on_failure.callback(cgroup.remove, folder)
                    temporary.callback(os.close, procs)
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
        on_failure.pop_all()
        return Child(spawned, said, folder)


@contextmanager
def os_errors(
    failed: str = "cannot start QEMU", kind: type[MicroVMError] = QemuError
) -> Iterator[None]:
    """Context manager that converts an `OSError` to a `kind`, whose text begins with `failed`."""
    try:
        yield
    except MicroVMError:  # some of them are also an OSError, such as a StartError
        raise
    except OSError as error:
        hint = SHORTAGES.get(error.errno or 0, "")
        # Name a missing file, because it need not be QEMU: it may be the launcher.
        named = isinstance(error, FileNotFoundError) and str(error.filename) not in failed
        where = f"{error.filename}: " if named and error.filename else ""
        raise kind(f"{failed}: {where}{error.strerror or error}", hint=hint) from error


def qemu_arguments(config: QemuConfig) -> list[str]:
    """Return QEMU's arguments with 0 as each descriptor, so that machines can be compared."""
    disk, scratch = 0 if config.disk else None, 0 if config.scratch else None
    inherited = Inherited(0, 0, 0, 0, 0, disk=disk, scratch=scratch)
    return arguments(config, inherited, tsc_khz=_tsc_khz())


def _pair(on_failure: ExitStack, temporary: ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return our non-blocking end and QEMU's end of a new socket pair. Each stack closes one end.

    :param on_failure: Stack that closes our end if the launch fails.
    :param temporary: Stack that closes our copy of QEMU's end after the launch.
    """
    our_socket, qemu_socket = socket.socketpair()
    our_socket.setblocking(False)
    return on_failure.enter_context(our_socket), temporary.enter_context(qemu_socket)


def _group_of(device: Path) -> int | None:
    """Return the group that may read and write a device; None if that is only root's group."""
    with suppress(OSError):
        status = device.stat()
        if status.st_gid and status.st_mode & _GROUP == _GROUP:
            return status.st_gid
    return None


def duplicate(descriptor: int, opened: ExitStack) -> int:
    """Return a duplicate of a descriptor, which the stack `opened` closes."""
    copy = os.dup(descriptor)
    opened.callback(os.close, copy)
    return copy


def _open(path: Path, flags: int, failure: type[MicroVMError], opened: ExitStack) -> int:
    with os_errors(f"cannot open {path}", failure):
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    return descriptor


@functools.cache
def _tsc_khz() -> int | None:
    """Return the frequency of an x86 host's time stamp counter in kHz; None on other hosts."""
    match = _BOGOMIPS.search(platform.proc("cpuinfo"))
    return match and round(float(match[1]) * 500)  # twice the MHz, see Linux' calibrate_delay()
