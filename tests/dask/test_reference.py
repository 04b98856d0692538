"""Tests of images and snapshots that workers find by a reference or receive from the client."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client
from tests.support.polling import eventually

import microvm.dask
from microvm import ImageError, MicroVM, NotRun, Snapshot, SnapshotError, UsageError
from microvm.dask.reference import ImageReference, SnapshotReference
from microvm.images import Image, load
from microvm.images import export as image_export
from microvm.start import snapshots
from microvm.start.snapshots import STORE
from microvm_image import oci_artifact

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("_nothing_left")]

CACHE = "MICROVM_CACHE"


@pytest.fixture
async def name(image: Image) -> AsyncIterator[str]:
    """The name of a snapshot in the cache of this host, with a file that its image lacks."""
    name = f"test-{os.getpid()}"
    async with MicroVM(image, disk="64M") as vm:
        await vm.run(["sh", "-c", "echo prepared >/ready"], check=True)
        await vm.checkpoint(name)
    yield name
    STORE.remove(name)


@pytest.fixture
def elsewhere(client: Client, tmp_path: Path) -> Iterator[Path]:
    """A cache of the workers alone, as on another host."""
    path, before = str(tmp_path / "cache"), os.environ.get(CACHE)

    def use(path: str | None) -> None:
        os.environ.pop(CACHE, None)
        os.environ.update({CACHE: path} if path else {})

    client.run(use, path)
    yield Path(path)
    client.run(use, before)


async def outcomes(
    client: Client, image: Image | Snapshot, *argvs: list[str], **options: Any
) -> list[bytes]:
    async with aclosing(microvm.dask.map(argvs, client=client, image=image, **options)) as batch:
        return [each.result().stdout async for each in batch]


class Swept(io.BytesIO):
    """A file of which a part has been read when the cache is swept."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read a part, after other processes have pruned their snapshots."""
        snapshots.prune()
        return super().read(size)


def files(folder: Path) -> list[Path]:
    return [*folder.rglob("*")]


def test_image_is_found_by_its_content(image: Image, tmp_path: Path) -> None:
    reference = ImageReference.to(image)
    made = reference.manifest
    assert reference.find() == image
    assert replace(reference, manifest=made._replace(name="another")).find() == image
    elsewhere = load(Path(shutil.copytree(image.path, tmp_path / "image")))
    assert ImageReference.to(elsewhere).find() == elsewhere
    shutil.rmtree(elsewhere.path)
    assert ImageReference.to(elsewhere).find() == image
    config = made.config._replace(user="nobody")
    for other in (made._replace(kernel_sha256="0"), made._replace(config=config)):
        assert replace(reference, manifest=other).find() is None


async def test_exported_parts_are_complete_or_refused(
    image: Image, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = SnapshotReference.to(Snapshot.find(name))
    files = {part.key: io.BytesIO() for part in snapshot.parts}
    for part in snapshot.parts:
        part.write(files[part.key])
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    for part in snapshot.parts:
        exported = files[part.key].getvalue()
        middle = len(exported) // 2
        torn = exported[:middle] + bytes([exported[middle] ^ 1]) + exported[middle + 1 :]
        other = next(file for key, file in files.items() if key != part.key).getvalue()
        for wrong in (exported[:middle], torn, other, b""):
            with pytest.raises((ImageError, SnapshotError)):
                part.read(io.BytesIO(wrong))
            assert part.find() is None
        part.read(Swept(exported))
        assert part.find() is not None
    STORE.remove(STORE.names()[0])  # it keeps its own name
    assert STORE.manifest(name) is None
    with pytest.raises(SnapshotError, match=f"no snapshot {name}"):
        snapshot.write(io.BytesIO())


@pytest.mark.parametrize("by", ["dask", "registry"])
async def test_workers_get_missing_images_and_snapshots(
    client: Client, image: Image, name: str, elsewhere: Path, registry: str, by: str
) -> None:
    told: list[str] = []
    jobs = [["cat", "/ready"]] * 4
    repository = registry if by == "registry" else None
    found = await outcomes(
        client, Snapshot.find(name), *jobs, registry=repository, notify=told.append
    )
    assert found == [b"prepared\n"] * 4
    pushed = ["pushing it"] * 2 if repository else []
    assert [each.partition(": ")[2] for each in told if ": waiting for " not in each] == [
        *pushed,
        f"has no image {image.name}: receiving it",
        f"has no snapshot {name}: receiving it",
    ]  # only once, although there are two workers
    told.clear()
    again = await outcomes(
        client, Snapshot.find(name), ["true"], registry=repository, notify=told.append
    )
    assert (again, told) == ([b""], [])
    assert {image.name, "ram"} <= {path.name for path in files(elsewhere)}
    eventually(lambda: not any(path.suffix in {".tmp", ".lock"} for path in files(elsewhere)))


async def test_client_learns_why_a_worker_lacks_an_image(
    client: Client, image: Image, tmp_path: Path, elsewhere: Path
) -> None:
    kernel = Path(shutil.copytree(image.path, elsewhere / "images" / image.name)) / "kernel"
    kernel.chmod(0o644)
    kernel.write_bytes(b"")
    with pytest.raises(NotRun, match=r"worker tcp://.*: .*damaged image") as caught:
        await outcomes(client, image, ["true"])
    assert isinstance(caught.value.reason, ImageError)
    gone = Image(tmp_path / "gone", image.manifest._replace(history=("nowhere",)))
    with pytest.raises(NotRun, match=r"worker tcp://.*the client cannot send it: .*is gone"):
        await outcomes(client, gone, ["true"])


async def test_worker_reports_a_wrong_image_of_a_registry(
    client: Client, image: Image, elsewhere: Path, registry: str
) -> None:
    other = image._replace(manifest=image.manifest._replace(history=("changed",)))
    text = f"{registry}:{ImageReference.to(image).key}"
    oci_artifact.push(text, lambda out: image_export.write(other, out))
    says = rf"worker tcp://.*: {text}: image .* it contains another image"
    with pytest.raises(NotRun, match=says) as caught:
        await outcomes(client, image, ["true"], registry=registry)
    assert isinstance(caught.value.reason, ImageError)
    eventually(lambda: not any(path.is_file() for path in files(elsewhere)))


async def test_invalid_repository_is_refused(client: Client, image: Image) -> None:
    for text in ("127.0.0.1/a", "docker://", "docker://a/b:1", "docker://a/b@sha256:0", ""):
        with pytest.raises(UsageError, match="not a repository"):
            await outcomes(client, image, ["true"], registry=text)
    with pytest.raises(ImageError, match=r"^cannot get docker://127.0.0.1:9/a:"):
        await outcomes(client, image, ["true"], registry="docker://127.0.0.1:9/a")


async def test_worker_boots_the_image_if_a_snapshot_does_not_fit(client: Client, name: str) -> None:
    manifest = STORE.path(name) / "manifest.json"
    members = json.loads(manifest.read_text())
    members["origin"]["qemu_build"] = "of-another-host"
    manifest.write_text(json.dumps(members))
    told: list[str] = []
    found = await outcomes(
        client, Snapshot.find(name), ["sh", "-c", "ls /ready || true"], notify=told.append
    )
    assert found == [b""]
    eventually(lambda: len(told) == 1)
    assert all(each.endswith("; booting its image instead") for each in told)


async def test_snapshot_without_a_name_is_not_sent_to_workers(client: Client, image: Image) -> None:
    async with MicroVM(image) as vm, await vm.checkpoint() as snapshot:
        with pytest.raises(UsageError, match="other hosts cannot use a snapshot without a name"):
            await anext(microvm.dask.map([["true"]], client=client, image=snapshot))
