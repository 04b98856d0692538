"""Operations that write to the cache, repeated so that each of their system calls fails once.

A process with the preloaded `fault.c` runs this as `python -m tests.faults.disk FOLDER OPERATION
STEP`. Every STEP-th call fails, once alone and once with all later calls. The program prints a line
for each failed check, and at last the number of faults.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sys
import tarfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.faults.faulty import EVER, failing
from tests.support.processes import open_files

from microvm import arches, cache, images
from microvm.errors import MicroVMError
from microvm.images import tags
from microvm.qemu.accel import ProbeCache
from microvm.qemu.command_line import Memory
from microvm.start import scratch, snapshots, template
from microvm.start.host import HostDescription
from microvm.start.origin import Origin
from microvm.start.store import Store
from microvm_image import build as builds
from microvm_image import defaults, image_removal, programs
from microvm_image.sources import alpine

REMOVING = "unlink,rmdir"
WRITING = "create,write,ftruncate,fsync,mkdir,rename,chmod"
FULL = "create,write,ftruncate,fsync,mkdir"


class DiskFault(NamedTuple):
    """A way in which a file system fails.

    :ivar calls: names of the calls that fail.
    :ivar tidy: True if files can still be removed.
    """

    number: int
    calls: str
    tidy: bool


FAULTS = (
    DiskFault(errno.ENOSPC, FULL, tidy=True),
    DiskFault(errno.EDQUOT, FULL, tidy=True),
    DiskFault(errno.EROFS, f"{WRITING},{REMOVING}", tidy=False),
    DiskFault(errno.EIO, f"{WRITING},{REMOVING},open,read,flock", tidy=False),
    DiskFault(
        errno.ENOLCK, "flock", tidy=False
    ),  # the file of a lock remains, since another process may hold it
    DiskFault(errno.EMFILE, "open,create", tidy=False),
    DiskFault(errno.EINTR, "open,create,read,write,ftruncate,fsync,flock", tidy=True),
)


class Operation(NamedTuple):
    """An operation that writes to the cache.

    :ivar do: function that runs the operation.
    :ivar reset: function that restores the state before the operation.
    :ivar check: function that raises if anything is incomplete; called when no call fails any more.
    """

    do: Callable[[], object]
    reset: Callable[[], object] = lambda: None
    check: Callable[[], object] = lambda: None


MADE = Origin(
    image="image",
    folder="",
    kernel_sha256="",
    initramfs_sha256="",
    disk_sha256="",
    qemu="",
    qemu_build="",
    arguments_sha256="",
    host_sha256="",
    accel="tcg",
    memory=1,
    cpus=1,
    scratch=0,
    host=HostDescription(),
)
NAME = "saved"


def _memory() -> Memory:
    """Return a guest of 1 MiB, as QEMU would have saved it."""
    ram, state = os.memfd_create("ram"), os.memfd_create("state")
    os.ftruncate(ram, 1 << 20)
    os.pwrite(ram, b"in memory", 4096)
    os.write(state, b"in its state")
    return Memory(ram, state, saved=False)


def _saved(store: Store, save: Callable[..., None]) -> Operation:
    memory = _memory()

    def do() -> None:
        save(memory, name=NAME, origin=MADE, copied=False)

    def check() -> None:
        for found in store.installed(deep=True):
            assert found.flaw is None, found
            with store.opened(found.name) as opened:
                assert opened is not None

    return Operation(do, lambda: cache.clear(store.folder), check)


def _small_parts(folder: Path) -> None:
    """Build images from small files, as tests/image does."""
    parts = folder / "parts"
    parts.mkdir()
    (parts / "Makefile").write_text(
        "all:\n\tmkdir $(OUT)\n\tcp main.c $(OUT)/init\n"
        "\tcp main.c $(OUT)/sandboxd\n\tcp main.c $(OUT)/pack\n\tcp main.c $(OUT)/carry\n"
        "\tcp main.c $(OUT)/relay\n"
    )
    (parts / "protocol.h").write_text("#define SANDBOXD_SCHEMA_DIGEST 0x0123456789abcdefULL\n")
    (parts / "main.c").write_text("program")
    kernel = bytearray(64 << 10)
    kernel[0x1FE:0x206] = b"\x55\xaa\0\0HdrS"
    kernel[56:60] = b"ARM\x64"
    kernel[0x20E:0x210] = (0x1000).to_bytes(2, "little")
    kernel[0x1200:0x1210] = b"6.1.2-test (us)\0"
    (folder / "vmlinuz").write_bytes(kernel)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("./etc/alpine-release")
        member.size = 7
        archive.addfile(member, io.BytesIO(b"3.20.3\n"))
    host = arches.find()
    (folder / alpine.archive_name(host)).write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    arches.ARCHES[host.name] = host._replace(alpine_sha256=digest)
    os.environ["MICROVM_ROOTFS"] = str(folder)
    os.environ["MICROVM_KERNEL"] = str(folder / "vmlinuz")
    programs.sources = lambda: parts


def _images_are_whole() -> None:
    for path, found in images.entries():
        assert isinstance(found, images.Image), (path, found)
    assert defaults.default() is not None


def _build() -> Operation:
    return Operation(
        lambda: builds.build(tag="tag"), lambda: cache.clear(cache.root()), _images_are_whole
    )


def _tag() -> Operation:
    first = builds.build().name

    def check() -> None:
        assert set(tags.all_tags().values()) <= {first}
        _images_are_whole()

    return Operation(
        lambda: tags.assign("tag", first), lambda: cache.clear(cache.folder("tags")), check
    )


def _prune() -> Operation:
    """Prune a cache whose only image is valid and tagged, so that nothing is removed."""
    kept = builds.build(tag="tag")

    def check() -> None:
        assert [found for _, found in images.entries()] == [kept]
        assert tags.of(kept.name) == ["tag:latest"]

    return Operation(image_removal.prune, check=check)


def _remove() -> Operation:
    def reset() -> None:
        builds.build(tag="tag")

    def check() -> None:
        _images_are_whole()

    def do() -> None:
        with cache.disk_errors():
            if tags.image_of("tag:latest"):
                image_removal.remove("tag")

    return Operation(do, reset, check)


def _load() -> Operation:
    kept = builds.build(tag="tag")

    def reset() -> None:
        (kept.path / "verified.json").unlink(missing_ok=True)

    def check() -> None:
        assert images.load("tag") == kept

    def do() -> None:
        with cache.disk_errors():
            images.load("tag")

    return Operation(do, reset, check)


def _scratch() -> Operation:
    def do() -> None:
        with scratch.blank(8 << 20):
            pass

    return Operation(do)


def _probe() -> Operation:
    probes = ProbeCache(cache.root(), Path(sys.executable))

    def do() -> None:
        probes.remember(works=False)

    def check() -> None:
        assert probes.recall() in {None, False}

    return Operation(do, probes.forget, check)


OPERATIONS: dict[str, Callable[[], Operation]] = {
    "template": lambda: _saved(template.STORE, template.save),
    "snapshot": lambda: _saved(snapshots.STORE, snapshots.save),
    "room": lambda: Operation(snapshots.check_room),
    "image": _build,
    "tag": _tag,
    "prune": _prune,
    "remove": _remove,
    "load": _load,
    "scratch": _scratch,
    "probe": _probe,
}


def _leftovers() -> list[str]:
    return [str(each) for each in cache.root().rglob(".*")]


class Faults:
    """The faults of one operation in sequence, and the failed checks."""

    def __init__(self, operation: Operation, step: int) -> None:
        """Prepare the operation without a fault."""
        self._operation = operation
        self._step = step
        self.faults = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        """Repeat the operation, each time with another fault."""
        for fault in FAULTS:
            self._operation.reset()
            with failing(cache.root(), fault.calls, fault.number, EVER) as counted:
                self._operation.do()
            # An interrupted call is repeated, so not all calls may be interrupted.
            lasts = (None,) if fault.number == errno.EINTR else (None, EVER)
            for first in range(1, counted[0] + 1, self._step):
                for last in lasts:
                    self._one(fault, first, last or first)

    def _one(self, fault: DiskFault, first: int, last: int) -> None:
        name = f"{errno.errorcode[fault.number]} from call {first}" + (
            " on" if last == EVER else " alone"
        )
        self.faults += 1
        self._operation.reset()
        files = open_files()
        with self._expected(name):
            try:
                with failing(cache.root(), fault.calls, fault.number, first, last):
                    self._operation.do()
            except MicroVMError as error:
                self._look_at(error, fault)
            assert open_files() == files
            self._operation.check()
            if not fault.tidy:  # files that could not be removed are removed later
                image_removal.prune()
                template.prune(template.limit())
                snapshots.prune()
            assert not _leftovers(), _leftovers()
            self._operation.do()
            self._operation.check()

    def _look_at(self, error: MicroVMError, fault: DiskFault) -> None:
        assert error.hint, error
        assert fault.number != errno.EINTR, error
        if fault.number == errno.EMFILE:  # this does not depend on the files
            assert "ulimit -n" in error.hint, error
            assert "damaged" not in error.message, error

    @contextmanager
    def _expected(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception:
            self.wrong.append(f"{name}:\n{traceback.format_exc()}")


def main() -> None:
    """Run the faults of one operation."""
    folder, name, step = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    os.environ["MICROVM_CACHE"] = str(folder / "cache")
    _small_parts(folder)
    cache.make(cache.root())
    faults = Faults(OPERATIONS[name](), step)
    faults.run()
    for text in faults.wrong:
        print(text)
    print(f"{faults.faults} faults")
    sys.exit(1 if faults.wrong else 0)


if __name__ == "__main__":
    main()
