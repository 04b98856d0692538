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
from microvm.qemu import accel


def test_doctor_runs_a_command_in_a_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "microvm", "doctor"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert [line.split()[1] for line in lines] == [check.name for check in CHECKS]
    assert {line.split()[0] for line in lines} <= {"ok", "note"}
    assert "it said hello after " in lines[-1]


def test_doctor_reports_a_machine_that_does_not_start(misbehave: Callable[[str], Path]) -> None:
    misbehave("exit 1")
    finding = machine.check_machine(EarlierResults())
    assert machine.NO_HELLO.matches(finding)
    assert (finding.status, bool(finding.fix)) == ("failed", True)


def test_doctor_proves_kvm_with_a_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test uses the KVM of this host; test_failing_kvm.py simulates each failure."""
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


def test_doctor_reports_a_start_that_takes_too_long() -> None:
    with pytest.raises(machine.NoAnswer, match="no answer within"):
        machine.hello(within=0.001)
