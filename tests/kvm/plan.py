"""The test files that run in the emulated machine, and the reasons to leave out others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TestFile:
    """A test file, and how pytest runs it.

    :ivar options: More options of pytest.
    """

    path: str
    options: tuple[str, ...] = ("-m", "not long")


_IN_VM = (
    "template snapshot named several exec files clone_failures snapshot_failures terminal "
    "machine pool ports twins hostile connections keep slots boot"
).split()
_IN_QEMU = (
    "arches accel lifecycle launcher layers exit refusals orphans probe escaped confinement"
).split()

TESTS = (
    TestFile("tests/kvm/test_device.py"),
    *(TestFile(f"tests/vm/test_{name}.py") for name in _IN_VM),
    *(TestFile(f"tests/qemu/test_{name}.py") for name in _IN_QEMU),
    # The kernel of the distribution cannot be downloaded without a network.
    TestFile("tests/vm/test_disk.py", ("-m", "not long", "-k", "not distribution")),
    # Load tests/conftest.py, which defines `--accel`, because this file is in another folder.
    # The corpus takes longer than most files, so only random conversations run.
    TestFile(
        "fuzz/guest/test_guest.py",
        ("-m", "not long", "-k", "random_host", "-p", "tests.conftest"),
    ),
    TestFile("tests/kvm/test_moved.py"),
)
"""The test files to run, roughly the longest first."""

_REASONS = {
    "the tests fall back to emulation, which takes minutes for each start in an emulated machine; "
    "`tests/kvm/test_device.py` tests the device": "accelerator failing_kvm other_host",
    "the tests need tools or sources that the machine lacks, such as mmdebstrap, skopeo or the "
    "source code of Linux": "build ready_made same_kernel selftests system_calls systems",
    "the tests download packages or build wheels, and the machine has no network": (
        "documents notebook python readme server"
    ),
    "the tests build an image with this host's Python, and run large programs in guests; they take "
    "longer than all other files together": (
        "interpreter interpreter_close interpreter_examples interpreter_versions python_command "
        "sync_interpreter"
    ),
    "with these tests, `make test-kvm` would take more than half an hour; other files run the same "
    "operations of QEMU and KVM": (
        "attach beside cache cluster_node copies detached examples images log loops map mismatch "
        "named_pool outdated_pool pack patience pytest_plugin reading reopened run run_options "
        "snapshot_commands start_named sync sync_pool wait"
    ),
    "the tests check options, output and reports, which do not depend on KVM; "
    "`tests/kvm/test_device.py` runs the doctor's check of KVM": "config doctor json",
    "the tests compare the guest's programs with the specification, which does not depend on KVM": (
        "spec"
    ),
    "the tests imitate macOS, or start guests that KVM cannot run": "macos other_arch",
    "it measures, and its limits are for a machine that is not emulated; use `python -m tests.kvm "
    "-- microvm bench --accel kvm`": "bench",
    "it has only long tests, which would take more than half an hour": ("cgroup kernel"),
}

LEFT_OUT = {
    f"tests/vm/test_{name}.py": reason
    for reason, names in _REASONS.items()
    for name in names.split()
} | {
    f"tests/qemu/test_{name}.py": "the tests start no guest"
    for name in "capacity command console units".split()
}
"""For each file of tests/vm and tests/qemu that is not in `TESTS`: why it is left out."""
