"""What workers find by a reference, and how machines of theirs start from it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client

import microvm.dask
from microvm import ImageError, MicroVM, Snapshot, SnapshotError, UsageError
from microvm.dask.reference import ImageReference, SnapshotReference
from microvm.start.snapshots import STORE
from microvm_image import Image, load

pytestmark = pytest.mark.usefixtures("_nothing_left")


@pytest.fixture
async def name(image: Image) -> AsyncIterator[str]:
    """A snapshot in the cache of this host, with a file that its image has not got."""
    name = f"test-{os.getpid()}"
    async with MicroVM(image) as vm:
        await vm.run(["sh", "-c", "echo prepared >/ready"], check=True)
        await vm.checkpoint(name)
    yield name
    STORE.remove(name)


def test_an_image_is_found_by_what_is_in_it(image: Image, tmp_path: Path) -> None:
    reference = ImageReference.to(image)
    assert reference.find().path == image.path
    assert replace(reference, name="another").find().path == image.path
    elsewhere = load(Path(shutil.copytree(image.path, tmp_path / "image")))
    assert ImageReference.to(elsewhere).find().path == tmp_path / "image"
    for changed, says in (
        (replace(reference, digests=("0",)), "no image .*image import FILE"),
        (replace(ImageReference.to(elsewhere), digests=("0",)), "another image than"),
    ):
        with pytest.raises(ImageError, match=says):
            changed.find()


async def test_a_worker_without_the_image_says_so(
    client: Client, image: Image, tmp_path: Path
) -> None:
    elsewhere = load(Path(shutil.copytree(image.path, tmp_path / "image")))
    outcomes = microvm.dask.map([["true"]], client=client, image=elsewhere)
    assert (await anext(outcomes)).result().returncode == 0
    await outcomes.aclose()
    (tmp_path / "image").rename(tmp_path / "moved")
    with pytest.raises(ImageError, match=f"worker tcp://.*: no image {tmp_path}/image"):
        await anext(microvm.dask.map([["true"]], client=client, image=elsewhere))


async def test_machines_go_on_from_a_snapshot(client: Client, name: str) -> None:
    jobs = [["cat", "/ready"]] * 3
    async for outcome in microvm.dask.map(jobs, client=client, image=Snapshot.find(name)):
        assert outcome.result().stdout == b"prepared\n"
    manifest = SnapshotReference.to(Snapshot.find(name)).manifest
    with pytest.raises(SnapshotError, match=f"another snapshot has the name {name}"):
        SnapshotReference(replace(manifest, ram_sha256="0")).find()
    with pytest.raises(SnapshotError, match="there is no snapshot gone"):
        SnapshotReference(replace(manifest, name="gone")).find()


async def test_of_a_snapshot_that_does_not_fit_a_worker_boots_the_image(
    client: Client, name: str
) -> None:
    manifest = STORE.path(name) / "manifest.json"
    members = json.loads(manifest.read_text())
    members["origin"]["qemu_build"] = "of-another-host"
    manifest.write_text(json.dumps(members))
    told: list[str] = []
    outcomes = microvm.dask.map(
        [["ls", "/ready"]], client=client, image=Snapshot.find(name), notify=told.append
    )
    assert [each.result().returncode async for each in outcomes] == [1]
    assert len(told) == 2
    assert all(each.endswith("; booting its image instead") for each in told)


async def test_a_snapshot_without_a_name_stays_where_it_is(client: Client, image: Image) -> None:
    async with MicroVM(image) as vm, await vm.checkpoint() as snapshot:
        with pytest.raises(UsageError, match="other hosts cannot have a snapshot without a name"):
            await anext(microvm.dask.map([["true"]], client=client, image=snapshot))
