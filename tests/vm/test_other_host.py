"""Tests of snapshots and templates of guests under KVM, on a host with another processor.

QEMU uses TCG in place of KVM. The tests replace only the functions that read the host's properties.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.vm.conftest import Misbehave
from tests.vm.test_accelerator import WORKS

from microvm import MicroVM, Snapshot, SnapshotError
from microvm.cli.verbs.snapshot import snapshot as command
from microvm.images import Image
from microvm.qemu import accel, launch
from microvm.start import origin, template
from microvm.start.host import HostDescription

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("copied_cache")]

OLD = HostDescription("Old", "avx avx2 sse", "6.12")
NEW = HostDescription("New", "avx sse", "6.12")
SAYS = "the processor was Old, and is New; this processor lacks avx2"


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch, misbehave: Misbehave) -> object:
    """Return a function that moves the test to another host. Every host seems to have KVM."""
    misbehave(WORKS)
    monkeypatch.setattr(accel, "obstacle", lambda _: None)
    monkeypatch.setattr(launch, "KVM", Path(os.devnull))

    def move(host: HostDescription) -> None:
        monkeypatch.setattr(origin, "describe", lambda: host)
        monkeypatch.setattr(origin, "offered", lambda host: host.features)

    return move


def _machine(source: Image | Snapshot) -> MicroVM:
    return MicroVM(source, accel="kvm", confinement="off")


async def test_snapshot_of_another_processor_is_refused(image: Image, move: object) -> None:
    assert callable(move)
    move(OLD)
    async with _machine(image) as vm:
        await vm.checkpoint("moved")
    move(NEW)
    with pytest.raises(SnapshotError, match=f"KVM offers other features .*: {SAYS}") as caught:
        async with MicroVM(Snapshot.find("moved"), confinement="off"):
            pass
    assert caught.value.hint == "take the snapshot again"
    inspected = CliRunner().invoke(command, ["inspect", "moved"]).stdout
    assert SAYS in inspected
    # another kernel or name of the processor does not matter if KVM offers the same features
    move(OLD._replace(kernel="6.18", processor="Renamed"))
    async with MicroVM(Snapshot.find("moved"), confinement="off") as vm:
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"


async def test_another_processor_gets_another_template(image: Image, move: object) -> None:
    assert callable(move)
    before = {each.name for each in template.STORE.installed()}
    for host, made in ((OLD, 1), (NEW, 2), (OLD, 2)):
        move(host)
        async with _machine(image) as vm:
            assert vm.cloned
        assert len({each.name for each in template.STORE.installed()} - before) == made
