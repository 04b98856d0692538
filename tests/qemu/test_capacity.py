"""Tests of the memory limits of this host, and of machines that exceed them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from microvm import MicroVM
from microvm.errors import UsageError
from microvm.system import capacity, platform
from microvm.system.capacity import GUEST_CPUS_PER_CPU, usable_cpus, usable_memory

HOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_more_cpus_than_the_host_has_are_refused() -> None:
    most = GUEST_CPUS_PER_CPU * usable_cpus()
    MicroVM(cpus=most)
    with pytest.raises(UsageError, match=rf"\(use at most {most}: 8 for each CPU"):
        MicroVM(cpus=most + 1)


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cgroup in a simulated cgroup v2 hierarchy, as the cgroup of this process."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("1:cpu:/other\n0::/outer/inner\n")
    monkeypatch.setattr(platform, "PROC", str(tmp_path / "proc"))
    monkeypatch.setattr(capacity, "_CGROUPS", tmp_path / "cgroup")
    inner = tmp_path / "cgroup/outer/inner"
    inner.mkdir(parents=True)
    return inner


def test_lowest_limit_of_all_parent_cgroups_counts(cgroup: Path) -> None:
    assert usable_memory() == HOST
    (cgroup / "memory.max").write_text("max\n")
    assert usable_memory() == HOST
    (cgroup.parent / "memory.max").write_text("268435456\n")
    assert usable_memory() == 256 << 20
    (cgroup / "memory.max").write_text("134217728\n")
    assert usable_memory() == 128 << 20
    MicroVM(memory="128M")
    with pytest.raises(UsageError, match=r"\(use at most 128M"):
        MicroVM(memory="129M")
