"""Selftests of Linux, compiled from its source, which must pass on the small kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from microvm import MicroVM
from microvm.images import Image
from microvm.progress import LineReporter
from microvm_image.kernel.source import fetch

pytestmark = [pytest.mark.thorough, pytest.mark.long]

FOLDER = Path("tools/testing/selftests")

# The source file and arguments of each test. Left out are tests that take minutes under
# emulation, that depend on milliseconds, or that need features which docs/kernel.md excludes.
NO_MPTCP = "".join(
    f" -V {box}_sandbox_with_{ip}_mptcp" for box in ("no", "tcp") for ip in ("ipv4", "ipv6")
)
SELFTESTS = f"""
cgroup/test_core
cgroup/test_kill
cgroup/test_pids
clone3/clone3
clone3/clone3_clear_sighand
clone3/clone3_set_tid
exec/null-argv
exec/recursion-depth
fchmodat2/fchmodat2_test
filelock/ofdlocks
filesystems/eventfd/eventfd_test
filesystems/statmount/statmount_test
futex/functional/futex_requeue_pi
futex/functional/futex_requeue_pi_mismatched_ops
futex/functional/futex_requeue_pi_signal_restart
futex/functional/futex_wait_private_mapped_file
futex/functional/futex_wait_timeout
futex/functional/futex_wait_wouldblock
kcmp/kcmp_test
landlock/base_test -T cred_transfer
landlock/fs_test
landlock/net_test{NO_MPTCP}
landlock/ptrace_test
landlock/scoped_abstract_unix_test
landlock/scoped_signal_test
landlock/scoped_test
lsm/lsm_set_self_attr_test
membarrier/membarrier_test_multi_thread
membarrier/membarrier_test_single_thread
memfd/memfd_test
mincore/mincore_selftest -T check_file_mmap
mount_setattr/mount_setattr_test -f mount_setattr
move_mount_set_group/move_mount_set_group_test
nsfs/owner
nsfs/pidns
openat2/openat2_test
openat2/resolve_test
pid_namespace/regression_enomem
pidfd/pidfd_fdinfo_test
pidfd/pidfd_getfd_test
pidfd/pidfd_open_test
pidfd/pidfd_setns_test
pidfd/pidfd_wait
prctl/set-process-name
ptrace/get_set_sud
ptrace/get_syscall_info
ptrace/peeksiginfo
rseq/basic_test
rseq/param_test
seccomp/seccomp_bpf
sigaltstack/sas
splice/default_file_splice_read
timens/clock_nanosleep
timens/exec
timens/futex
timens/procfs
timens/timens
timens/timer
timens/timerfd
timens/vfork_exec
timers/nanosleep
""".strip().splitlines()

# Files that are compiled with the tests of a folder.
WITH = {
    "cgroup": ("cgroup/cgroup_util.c",),
    "futex": ("-Ifutex/include",),
    "memfd": ("memfd/common.c",),
    "lsm": ("lsm/common.c",),
    "openat2": ("openat2/helpers.c",),
    "rseq": ("rseq/rseq.c", "-I../../include"),
}
OPTIONS = ("-std=gnu11", "-D_GNU_SOURCE=", "-O2", "-static", "-w", "-I../../..", "-I.")
LIBRARIES = ("-lcap", "-lpthread", "-lrt")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked folder of the selftests."""
    archive = fetch(LineReporter(), pinned=False).path
    folder = tmp_path_factory.mktemp("linux")
    members = (f"*/{FOLDER}", "*/tools/include")
    unpack = ["tar", "-xJf", str(archive), "-C", str(folder), "--strip-components=1", "--wildcards"]
    subprocess.run([*unpack, *members], check=True)
    return folder / FOLDER


def compile_test(source: Path, name: str, folder: Path) -> Path:
    made = folder / Path(name).name
    more = (f"-I{Path(name).parent}", *WITH.get(name.partition("/")[0], ()))
    command = ["gcc", *OPTIONS, *more, f"{name}.c", "-o", str(made), *LIBRARIES]
    subprocess.run(command, cwd=source, check=True)
    return made


@pytest.mark.parametrize("selftest", SELFTESTS)
async def test_selftest_passes(
    small_image: Image, source: Path, selftest: str, tmp_path: Path
) -> None:
    name, _, arguments = selftest.partition(" ")
    made = [compile_test(source, each, tmp_path) for each in (name, "landlock/true")]
    async with MicroVM(small_image, memory="512M", cpus=2) as vm:
        await vm.run(["mount", "-t", "tmpfs", "tmpfs", "/tmp"], check=True)
        for program in made:  # the tests of Landlock execute the other program
            await vm.put(program, "/tmp")
        script = f"cd /tmp && ./{made[0].name} {arguments}"
        result = await vm.run(["sh", "-c", script], text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
