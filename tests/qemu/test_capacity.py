"""Tests of the memory limits of this host, and of machines that exceed them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import pytest

from microvm import MicroVM, Pool
from microvm.errors import UsageError
from microvm.system import capacity, platform
from microvm.system.capacity import GUEST_CPUS_PER_CPU, usable_cpus, usable_memory

HOST = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("kind", [MicroVM, Pool])
def test_more_memory_than_the_host_has_is_refused(kind: type[MicroVM] | type[Pool]) -> None:
    with pytest.raises(UsageError, match=r"does not fit into this host's memory \(use at most"):
        kind(memory="999T")
    most = GUEST_CPUS_PER_CPU * usable_cpus()
    with pytest.raises(UsageError, match=rf"\(use at most {most}: 8 for each CPU"):
        kind(cpus=most + 1)
    with pytest.raises(UsageError, match="cpus: 0 is not a whole number from 1 on"):
        kind(cpus=0)
    kind(cpus=most)
    with pytest.raises(UsageError, match="accel: it must be one of auto, kvm, tcg, not 'fast'"):
        kind(accel=cast(Any, "fast"))


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


def test_limit_above_total_memory_is_ignored(cgroup: Path) -> None:
    (cgroup / "memory.max").write_text(f"{HOST * 2}\n")
    assert usable_memory() == HOST
