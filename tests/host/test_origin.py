"""Tests of the origin of a saved guest: differences are reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from microvm.qemu import accel
from microvm.qemu.command_line import Memory
from microvm.start.checkpoint import Checkpoint
from microvm.start.host import HostDescription
from microvm.start.origin import Origin

MADE = Origin(
    image="alpine-1",
    folder="/images/alpine-1",
    kernel_sha256="k",
    initramfs_sha256="i",
    disk_sha256="d",
    qemu="/usr/bin/qemu",
    qemu_build="1-2",
    arguments_sha256="a",
    host_sha256="h",
    accel="tcg",
    memory=96,
    cpus=1,
    scratch=0,
    host=HostDescription("a processor", "sse avx", "6.1"),
)
# The path makes no difference, and the host is only described. The other values are in the
# arguments.
ELSEWHERE = {"folder", "qemu", "accel", "memory", "cpus", "host"}


def test_same_origin_has_no_obstacle() -> None:
    assert MADE.obstacle(MADE) == ""
    assert MADE.obstacle(MADE._replace(folder="/elsewhere", qemu="/opt/qemu")) == ""


def test_obstacle_describes_the_other_host() -> None:
    there = MADE._replace(host_sha256="other", host=HostDescription("a processor", "sse", "6.1"))
    assert MADE.obstacle(there).endswith("than when it was saved: this processor lacks avx")


def test_missing_kvm_is_a_lack_of_the_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(accel, "KVM", tmp_path / "kvm")
    lack = MADE._replace(accel="kvm").lack()
    assert lack is not None
    assert lack.text.startswith("KVM is not available on this host (")
    assert MADE.lack() is None  # an emulated guest does not need KVM


def test_origin_is_the_same_in_another_process() -> None:
    memory = Memory(ram=3, state=4, saved=False)
    parts, files = Checkpoint(MADE, 0.5, False, memory, None).parts()
    assert Checkpoint.of(json.loads(json.dumps(parts)), files).origin == MADE


def test_every_requirement_is_compared() -> None:
    looked_at = [
        name
        for name in Origin._fields
        if name not in ELSEWHERE and MADE.obstacle(MADE._replace(**{name: "other"}))  # type: ignore[arg-type]
    ]
    assert {*looked_at, *ELSEWHERE} == set(Origin._fields)
