"""Tests of `microvm doctor` with machines: one that answers, one that cannot, and one with KVM."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from microvm import arches
from microvm.cli.checks import kvm, machine
from microvm.cli.checks.check import EarlierResults
from microvm.cli.checks.runner import CHECKS
from microvm.images import Image
from microvm.qemu import accel


def test_it_has_a_machine_say_hello(image: Image) -> None:
    del image
    done = subprocess.run(
        [sys.executable, "-m", "microvm", "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split()[1] for line in lines] == [check.name for check in CHECKS]
    assert {line.split()[0] for line in lines} <= {"ok", "note"}
    assert "it said hello after " in lines[-1]


def test_a_machine_that_does_not_start(misbehave: Callable[[str], Path]) -> None:
    misbehave("exit 1")
    finding = machine.check_machine(EarlierResults())
    assert machine.NO_HELLO.matches(finding)
    assert (finding.status, bool(finding.fix)) == ("failed", True)


def test_kvm_is_proved_by_a_guest(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test uses the KVM of this host; test_failing_kvm.py simulates each failure."""
    del image
    # in this case QEMU refuses KVM, as it may refuse a broken KVM
    if accel.obstacle(arches.find().name) is not None:
        monkeypatch.setattr(accel, "obstacle", lambda _: None)
    finding = kvm.check_kvm(EarlierResults())
    if finding.status == "ok":
        assert "a guest booted under KVM" in finding.text
    else:
        assert any(fault.matches(finding) for fault in kvm.CHECK.faults)
        assert finding.status == "note"
        assert finding.fix


def test_a_machine_that_takes_too_long(image: Image) -> None:
    del image
    with pytest.raises(machine.NoAnswer, match="no answer within"):
        machine.hello(within=0.001)
