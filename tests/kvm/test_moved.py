"""Tests of snapshots after KVM's modules were loaded with other parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.kvm.image import FOLDER, MODULES
from tests.kvm.test_device import shell, unload

from microvm import MicroVM, Snapshot, SnapshotError
from microvm.images import Image


@pytest.fixture
def load() -> Iterator[Callable[[str], None]]:
    """Return a function that loads KVM's modules again, with a parameter for `kvm_amd`."""

    def load(parameter: str = "") -> None:
        unload()
        _, common, vendor = (f"{FOLDER}/{name}.ko.xz" for name in MODULES)
        shell(f"insmod {common}; insmod {vendor} {parameter}")
        shell("chgrp kvm /dev/kvm; chmod 660 /dev/kvm")

    yield load
    load()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a new cache, so that the snapshot is removed with it."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))


async def test_snapshot_fits_while_kvm_offers_the_same(
    image: Image, load: Callable[[str], None]
) -> None:
    async with MicroVM(image, accel="kvm") as vm:
        await vm.checkpoint("moved")
    load("nested=0")  # guests do not get nested virtualization in any case
    async with MicroVM(Snapshot.find("moved")) as vm:
        assert (await vm.run(["echo", "hello"])).stdout == b"hello\n"
    load("npt=0")  # without nested page tables, KVM offers fewer features
    with pytest.raises(SnapshotError, match=r"KVM's modules had .*kvm_amd\.npt=Y"):
        async with MicroVM(Snapshot.find("moved")):
            pass
