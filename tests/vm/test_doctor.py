"""`microvm doctor` with machines: one that says hello, one that cannot, and KVM that is tried."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from microvm.cli.checks import machine, qemu
from microvm.cli.checks.check import Context
from microvm.cli.checks.table import CHECKS
from microvm.qemu import accel
from microvm_image import Image


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
    finding = machine.machine(Context())
    assert machine.NO_HELLO.is_in(finding)
    assert (finding.status, bool(finding.mend)) == ("failed", True)


def test_kvm_is_proved_by_a_guest(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    del image
    if accel.obstacle("x86_64") is not None:  # then QEMU refuses it, as a broken one may
        monkeypatch.setattr(accel, "obstacle", lambda _: None)
    finding = qemu.kvm(Context())
    if finding.status == "ok":
        assert "a guest booted under it" in finding.text
    else:
        assert qemu.DEADLY.is_in(finding)
        assert finding.mend == "export MICROVM_ACCEL=tcg"


def test_a_machine_that_takes_too_long(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    del image
    monkeypatch.setattr(machine, "_TIMEOUT", 0.001)
    finding = machine.machine(Context())
    assert machine.NO_HELLO.is_in(finding)
    assert "nothing within" in finding.text
