"""Tests that the memory and work for the worst inputs grow at most in proportion to their size."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import resource
import signal
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.image import worst_inputs
from tests.image.layers import file, layer, tar
from tests.image.worst_inputs import Worst
from tests.support.process_settings import soft_limit

from microvm import arches, export_archive
from microvm.cli import env_file
from microvm.errors import ImageError, UsageError
from microvm.images import export
from microvm.progress import NullReporter
from microvm.zstd import zstd_module
from microvm_image.build import build
from microvm_image.compression import spooled
from microvm_image.erofs import ErofsLayer
from microvm_image.initramfs_layer import InitramfsLayer
from microvm_image.kernel import selection
from microvm_image.layer import Layer
from microvm_image.limits import Limits
from microvm_image.sources.archive import find as find_archive
from microvm_image.sources.archive import find_layout
from microvm_image.tree import RootfsTree

pytestmark = pytest.mark.thorough

SIZE = 2000
LIMITS = Limits(metadata=4 << 20, unsuspected=4 << 20, members=10_000)
MEMORY = 24 << 20
"""Number of bytes of memory that any of these inputs may take, in addition to 8 times its size."""
ADDRESSES = 512 << 20
DEADLINE = 300
"""Number of seconds after which a reader is killed; each of these inputs takes only a few."""


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Fail if the block takes more memory than an input of this size may take."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with soft_limit(resource.RLIMIT_AS, used + ADDRESSES):
        signal.alarm(DEADLINE)
        tracemalloc.start()
        try:
            yield
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            signal.alarm(0)
    assert peak < MEMORY + 8 * size


def read(one: Layer) -> None:
    """Read a layer and write its files, as a build does."""
    with RootfsTree(LIMITS) as tree:
        tree.add(one)
        tree.is_small()
        tree.write_tar(len)


def disk(data: bytes) -> Layer:
    return ErofsLayer("layer", lambda files: spooled(iter([data]), files))


def initramfs(data: bytes) -> Layer:
    return InitramfsLayer("layer", lambda files: spooled(iter([data]), files))


KINDS: dict[str, tuple[Callable[[bytes], Layer], dict[str, Worst]]] = {
    "tar": (layer, worst_inputs.TARS),
    "packed": (layer, worst_inputs.PACKED),
    "disk": (disk, worst_inputs.DISKS),
    "initramfs": (initramfs, worst_inputs.INITRAMFS),
}
CASES = [
    pytest.param(reader, input_, id=f"{kind}: {name}")
    for kind, (reader, inputs) in KINDS.items()
    for name, input_ in inputs.items()
]


@pytest.mark.parametrize(("reader", "input_"), CASES)
def test_memory_and_work_of_a_layer_are_limited(
    reader: Callable[[bytes], Layer], input_: Worst
) -> None:
    data = input_.make(SIZE)
    with bounded(len(data)):
        if not input_.says:
            read(reader(data))
            return
        with pytest.raises(ImageError, match=input_.says) as caught:
            read(reader(data))
    assert "layer" in caught.value.message
    assert caught.value.exit_status == 125
    assert caught.value.hint
    assert len(str(caught.value)) < 1000


def calls(function: Callable[[], object]) -> int:
    """Return the number of function calls, including those of Python's own modules."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    ("reader", "input_"),
    [case for case in CASES if not case.values[1].says],  # type: ignore[union-attr]
)
def test_twice_the_input_is_twice_the_work(reader: Callable[[bytes], Layer], input_: Worst) -> None:
    once, twice = (
        calls(partial(lambda data: read(reader(data)), input_.make(size))) for size in (400, 800)
    )
    assert twice < 2.2 * once


@pytest.mark.parametrize("name", worst_inputs.DOCUMENTS)
def test_memory_and_work_of_a_document_are_limited(name: str, tmp_path: Path) -> None:
    input_ = worst_inputs.DOCUMENTS[name]
    data = input_.make(SIZE)
    (tmp_path / "index.json").write_bytes(data)
    with bounded(len(data)), pytest.raises(ImageError, match=input_.says) as caught:
        find_layout(tmp_path, "", arches.find())
    assert len(str(caught.value)) < 1500


def test_an_export_of_empty_streams_is_refused() -> None:
    data = zstd_module().compress(b"") * 100_000
    with bounded(len(data)), pytest.raises(ImageError, match="compressed streams"):
        export.read(io.BytesIO(data), "x", limit=1 << 30)


@pytest.mark.parametrize("start", [b"", zstd_module().compress(b"")])
def test_an_export_without_an_end_is_refused(start: bytes) -> None:
    class Endless(io.BytesIO):
        """A file of zeros without an end."""

        def read(self, size: int | None = -1) -> bytes:
            assert size
            assert size > 0
            return super().read(size) or bytes(size)

    with bounded(0), pytest.raises(ImageError, match=r"is no exported image|of zeros"):
        export.read(Endless(start), "x", limit=1 << 30)


def test_a_sparse_export_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    os.truncate(tmp_path / "x", 1 << 40)
    with (
        (tmp_path / "x").open("rb") as file,
        bounded(0),
        pytest.raises(ImageError, match="is no exported image"),
    ):
        export.read(file, "x", limit=1 << 30)


def test_a_sparse_end_of_an_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(gzip.compress(tar(file("f"))))
    os.truncate(path, 1 << 40)
    with bounded(0), ExitStack() as files, pytest.raises(ImageError, match="of zeros"):
        find_archive(str(path), arches.find(), LIMITS, files)


def test_an_export_of_many_tags_is_refused() -> None:
    named = json.dumps([f"t{n}" for n in range(2000)]).encode()
    archive = export_archive.ExportReader(io.BytesIO(_member("tags.json", named)))  # type: ignore[arg-type]
    with pytest.raises(export_archive.DamagedError, match="2,000 tags, more than 1,000"):
        export._tags(archive, "x86_64")


def _member(name: str, data: bytes) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = len(data)
    return header.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def test_the_names_in_a_stored_image_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(tar(*[file("blobs/x")] * 2000, file("blobs/y/" * 20)))
    limits = Limits(members=1000)
    with bounded(1 << 20), ExitStack() as files, pytest.raises(ImageError, match="more than 1,000"):
        find_archive(str(path), arches.find(), limits, files)


def test_repeated_layer_counts_once() -> None:
    data = tar(file("f", bytes(3 << 20)))
    packed = gzip.compress(data)
    limits = Limits(unsuspected=4 << 20, ratio=5 * len(data) // (2 * len(packed)))
    one = layer(packed, diff_id=hashlib.sha256(data).hexdigest())
    with RootfsTree(limits) as tree:
        tree.add(one)
        tree.add(one)
        with pytest.raises(ImageError, match="times its compressed size"):
            tree.add(one)


def test_processor_time_is_limited() -> None:
    data = tar(*(file(f"{n}") for n in range(100)))
    with RootfsTree(Limits(processor=0)) as tree, pytest.raises(ImageError, match="more than 0 s"):
        tree.add(layer(data))


@pytest.mark.parametrize("made_of", ["kernel", "rootfs"])
def test_endless_part_is_refused(made_of: str, kernel: Path, archive: Path) -> None:
    parts = {"kernel": kernel, "rootfs": archive} | {made_of: Path("/dev/zero")}
    with bounded(0), pytest.raises(ImageError, match="not a plain file"):
        build(kernel=parts["kernel"], rootfs=parts["rootfs"])


def test_compression_bomb_as_a_module_is_refused(kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    kernel = kernel.rename(tmp_path / "boot/vmlinuz")
    module = tmp_path / f"lib/modules/6.1.2-test/kernel/{selection.MODULES[''][0]}.ko.xz"
    module.parent.mkdir(parents=True)
    module.write_bytes(lzma.compress(bytes(65 << 20)))
    with pytest.raises(ImageError, match="more than 64 MiB"):
        selection.find(arches.find(), kernel, NullReporter())


def test_endless_env_file_is_refused() -> None:
    with bounded(0), pytest.raises(UsageError, match="larger than 4 MiB"):
        env_file.read("/dev/zero")
