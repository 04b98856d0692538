"""Fixtures of images from small stand-ins for programs, kernel and archive, and of a new cache."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.image import oci
from tests.support.processes import environment

from microvm import arches
from microvm.cli import template_maker
from microvm.qemu import launcher
from microvm_image import programs
from microvm_image.sources import alpine

HOST = os.uname().machine
MAKEFILE = """
all:
	mkdir $(OUT)
	$(CC) -static -nostdlib -e main -s -o $(OUT)/init main.c
	cp $(OUT)/init $(OUT)/sandboxd
	cp $(OUT)/init $(OUT)/pack
	cp $(OUT)/init $(OUT)/carry
	cp $(OUT)/init $(OUT)/relay
"""
HEADER = "#define SANDBOXD_SCHEMA_DIGEST 0x0123456789abcdefULL\n"

WORKER = """
import sys
from pathlib import Path
from microvm import arches
from microvm.qemu import launcher
from microvm import progress
from microvm_image import build, initramfs, programs

guest, pin, pause = sys.argv[1:]
host = arches.find()
arches.ARCHES[host.name] = host._replace(alpine_sha256=pin)
programs.sources = lambda: Path(guest)
write = initramfs.write

def slow_write(*args):
    print("writing", flush=True)
    if pause == "pause":
        sys.stdin.read()
    write(*args)

initramfs.write = slow_write
print(build.build(report=progress.LineReporter()).path)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of a new cache, and remove all variables of microvm from the environment."""
    for name in ("MICROVM_ROOTFS", "MICROVM_KERNEL", "MICROVM_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(autouse=True)
def _launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the compilation of the launcher, since no machine is started."""
    monkeypatch.setattr(launcher, "is_ready", lambda: True)


@pytest.fixture(autouse=True)
def templates(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace `try_template`, because the kernels of these images cannot boot.

    Return the list of the names of images with which it is called.
    """
    names: list[str] = []
    monkeypatch.setattr(template_maker, "try_template", lambda image, _: names.append(image.name))
    return names


@pytest.fixture(autouse=True)
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Replace the sources of the guest's programs by small ones that compile quickly."""
    folder = tmp_path / "guest"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "protocol.h").write_text(HEADER)
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    monkeypatch.setattr(programs, "sources", lambda: folder)
    return folder


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """Return a file that is accepted as a kernel of every architecture."""
    data = bytearray(64 << 10)
    data[56:60] = b"ARM\x64"
    data[0x1FE:0x206] = b"\x55\xaa\0\0HdrS"
    data[0x20E:0x210] = (0x1000).to_bytes(2, "little")
    data[0x1200:0x1210] = b"6.1.2-test (us)\0"
    path = tmp_path / "vmlinuz"
    path.write_bytes(data)
    return path


Pin = Callable[..., Path]


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pin:
    """Return a function that builds an archive and makes it the pinned one.

    The value of a member is its content, or a function that changes its `TarInfo`.
    """

    def make(**members: Any) -> Path:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, value in members.items():
                info = tarfile.TarInfo(name)
                if callable(value):
                    value(info)
                    archive.addfile(info)
                else:
                    info.size = len(value)
                    archive.addfile(info, io.BytesIO(value))
        host = arches.find()
        path = tmp_path / alpine.archive_name(host)
        path.write_bytes(buffer.getvalue())
        digest = hashlib.sha256(buffer.getvalue()).hexdigest()
        monkeypatch.setitem(arches.ARCHES, host.name, host._replace(alpine_sha256=digest))
        return path

    return make


@pytest.fixture
def archive(pin: Pin) -> Path:
    """Return a small archive that is the pinned one."""
    return pin(**{"./bin/sh": b"#!", "./etc/alpine-release": b"3.20.3\n"})


@pytest.fixture
def parts(archive: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the variables of the environment that name the small archive and the small kernel."""
    monkeypatch.setenv("MICROVM_ROOTFS", str(archive))
    monkeypatch.setenv("MICROVM_KERNEL", str(kernel))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set $TMPDIR to a new folder, and return the folder."""
    folder = tmp_path / "temporary files"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the HOST:PORT of a registry that needs no login."""
    with oci.registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_build(guest: Path, archive: Path, parts: None) -> Start:
    """Return a function that starts a default build in another process.

    The process prints `writing` in the middle of the build. With `pause`, it then waits for the end
    of its standard input.
    """
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()

    def start(*, pause: bool) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER, guest, digest, "pause" if pause else "go"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    return start


Leftovers = Callable[[], list[str]]


@pytest.fixture
def leftovers(cache: Path) -> Leftovers:
    """Return a function that lists the temporary files and locks in the cache."""
    return lambda: [str(path) for path in cache.rglob(".*")]
