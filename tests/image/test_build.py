"""Tests of complete builds: the same parts give the same image, which is never incomplete."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.image.conftest import Leftovers
from tests.support.polling import comes_true
from tests.support.small_disk import small_disk

import microvm_image
from microvm import arches, images
from microvm.cache import verified
from microvm.errors import CacheError, ImageError
from microvm.images import Image, readymade
from microvm.progress import LineReporter
from microvm_image import build as building
from microvm_image import defaults, initramfs, programs
from microvm_image.build import build
from microvm_image.recipe import Recipe

Start = Callable[..., subprocess.Popen[str]]


pytestmark = pytest.mark.usefixtures("parts")


def test_image_has_its_files_and_manifest(cache: Path, kernel: Path) -> None:
    image = build()
    assert image.path == cache / "images" / image.name
    assert image.kernel.read_bytes() == kernel.read_bytes()
    assert image.initramfs.stat().st_size == image.manifest.initramfs_size
    assert image.manifest.schema == "0123456789abcdef"
    assert image.name.startswith(f"alpine-3.20.3-{os.uname().machine}-")
    assert images.load(image.name) == image
    assert images.load(image.path) == image


def test_the_same_parts_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build()
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "other"))
    second = build()
    assert first.manifest == second.manifest
    assert first.initramfs.read_bytes() == second.initramfs.read_bytes()


def test_other_parts_give_another_name(guest: Path, kernel: Path) -> None:
    names = {build().name}
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    names.add(build().name)
    kernel.write_bytes(kernel.read_bytes() + b"more")
    names.add(build().name)
    header = guest / "protocol.h"
    header.write_text(header.read_text().replace("0123", "3210"))
    names.add(build().name)
    assert len(names) == 4


@pytest.mark.parametrize("first", [microvm_image.default, build])
def test_default_is_built_once(
    first: Callable[[], Image], monkeypatch: pytest.MonkeyPatch, guest: Path
) -> None:
    image = first()

    def never(**_: object) -> None:
        raise AssertionError("built again")

    with monkeypatch.context() as patch:
        patch.setattr(building, "build", never)
        patch.setattr(programs, "build", None)
        assert microvm_image.default() == image
    monkeypatch.setattr(building, "build", never)
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    with pytest.raises(AssertionError, match="built again"):
        microvm_image.default()


def test_missing_kernel_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    image = build()
    monkeypatch.delenv("MICROVM_KERNEL")
    defaults.remember(arches.find(None), image)
    assert microvm_image.default() == image
    monkeypatch.setenv("MICROVM_KERNEL", "/nowhere/kernel")
    with pytest.raises(ImageError, match="/nowhere/kernel: cannot read the kernel"):
        microvm_image.default()


def test_notes_of_removed_images_are_removed(guest: Path, cache: Path) -> None:
    microvm_image.remove(build().name)
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    build()
    assert len(list((cache / "defaults").iterdir())) == 1


@pytest.mark.parametrize("lost", ["manifest.json", "initramfs.cpio"])
def test_build_reports_a_damaged_image(lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    image = build(report=LineReporter())
    assert "damaged" not in capsys.readouterr().err
    (image.path / lost).unlink()
    assert build(report=LineReporter()) == image
    lines = [line for line in capsys.readouterr().err.splitlines() if "damaged" in line]
    assert len(lines) == 1
    assert lines[0].endswith(f": {image.name} is built again")


def test_failed_build_leaves_no_damaged_image(cache: Path, leftovers: Leftovers) -> None:
    """A manifest beyond the limit could not be read again."""
    env = tuple(f"A{number}={'x' * 100_000}" for number in range(11))
    with pytest.raises(ImageError, match=r"have \d,\d{3},\d{3} bytes, of at most 1,047,552"):
        build(Recipe(env=env))
    assert not [*cache.glob("images/*")]
    assert not leftovers()


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["kernel", "initramfs.cpio"])
def test_changed_bit_is_found(part: str) -> None:
    image = microvm_image.default()
    _flip_a_bit(image.path / part)
    with pytest.raises(ImageError, match=rf"{part}: damaged image: its content has changed"):
        images.load(image.name)
    assert not any(isinstance(found, images.Image) for _, found in images.entries())
    assert microvm_image.default() == image
    assert images.load(image.name) == image


def test_files_are_hashed_once_for_each_copy(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = build()
    hashed = []
    digest = hashlib.file_digest

    def counted(*arguments: Any) -> Any:
        hashed.append(1)
        return digest(*arguments)

    monkeypatch.setattr(hashlib, "file_digest", counted)
    monkeypatch.setattr(verified, "_memory", {})  # as in another process
    images.load(image.name)
    assert len(hashed) == 0
    shutil.copytree(cache, tmp_path / "copy")
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "copy"))
    for _ in range(2):
        assert images.load(image.name).manifest == image.manifest
        assert len(hashed) == 2
        monkeypatch.setattr(verified, "_memory", {})


@pytest.mark.thorough
@pytest.mark.parametrize("record", [b"", b"[]", b"\xff", b'{"kernel": 1}', b"0" * 10_000])
def test_damaged_record_of_digests_is_written_again(
    record: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = build()
    monkeypatch.setattr(verified, "_memory", {})  # as in another process
    (image.path / verified.RECORD).write_bytes(record)
    assert images.load(image.name) == image
    assert set(json.loads((image.path / verified.RECORD).read_text())) == {
        "kernel",
        "initramfs.cpio",
    }


def test_unreadable_notes_are_replaced_or_removed(cache: Path) -> None:
    image = microvm_image.default()
    (note,) = (cache / "defaults").iterdir()
    (note.parent / "folder").mkdir()
    for text in (b"\xff", b"", b"../../etc", b"x" * 10_000):
        note.write_bytes(text)
        (note.parent / "other").write_bytes(text)
        assert microvm_image.default() == image
        assert note.read_text() == image.name
        assert list(note.parent.iterdir()) == [note]


def test_image_is_written_to_the_output_folder(tmp_path: Path, guest: Path, cache: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    image = build(output=output)
    assert image.path == output
    assert not (cache / "images").exists()
    made = image.initramfs.stat().st_mtime_ns
    assert build(output=output).initramfs.stat().st_mtime_ns == made
    (guest / "main.c").write_text("int main(void) { return 1; }\n")
    assert build(output=output).name != image.name


def test_output_replaces_no_other_folder(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is no image"):
        build(output=tmp_path)
    with pytest.raises(ImageError, match="is no image"):
        build(output=tmp_path / "vmlinuz")
    assert (tmp_path / "vmlinuz").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "I/O error")])
def test_failed_build_leaves_no_files(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, cache: Path, leftovers: Leftovers
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(initramfs, "write", fail)
    with pytest.raises((KeyboardInterrupt, CacheError)):
        build()
    assert not list((cache / "images").iterdir())
    assert not leftovers()


def wait_until_it_writes(process: subprocess.Popen[str]) -> None:
    assert process.stdout
    assert process.stdout.readline() == "writing\n"


def test_two_processes_build_one_image(start_build: Start, leftovers: Leftovers) -> None:
    first = start_build(pause=True)
    wait_until_it_writes(first)
    second = start_build(pause=False)
    assert second.stderr
    assert f"waiting for process {first.pid}, which makes" in second.stderr.readline()
    made, _ = first.communicate()
    found, _ = second.communicate()
    assert found == made != ""
    assert not leftovers()


async def test_start_names_the_process_that_it_waits_for(start_build: Start) -> None:
    first = start_build(pause=True)
    wait_until_it_writes(first)
    told: list[str] = []
    finding = asyncio.create_task(readymade.find_or_build(None, told.append))
    await comes_true(lambda: told)
    await asyncio.to_thread(first.communicate)
    await finding
    assert told[0].startswith(f"waiting for process {first.pid}, which makes ")


def test_next_build_removes_files_of_a_killed_build(
    start_build: Start, cache: Path, leftovers: Leftovers
) -> None:
    process = start_build(pause=True)
    wait_until_it_writes(process)
    process.kill()
    process.communicate()
    assert not list((cache / "images").glob("[!.]*"))
    assert leftovers()
    build()
    assert not leftovers()


@pytest.mark.thorough
@pytest.mark.parametrize("size", ["6m", "12m", "24m", "36m"])
def test_full_disk_is_not_reported_as_a_fault_of_mkfs(
    size: str, tmp_path: Path, cache: Path, kernel: Path
) -> None:
    """A disk needs space for the files twice, so mkfs.erofs could not even write its log."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(18 << 20))
    full = pytest.raises((CacheError, ImageError), match="disk full")
    with small_disk(cache, size), full as caught:
        build(Recipe(source=str(source)), kernel=kernel)
    assert "erofs-utils" not in caught.value.hint


def test_cache_that_is_a_file_is_an_error(cache: Path) -> None:
    cache.write_text("in the way")
    with pytest.raises(CacheError, match=r"cannot use .*cache.*MICROVM_CACHE"):
        microvm_image.default()


def test_invalid_manifest_is_refused(tmp_path: Path, archive: Path, kernel: Path) -> None:
    image = build(rootfs=archive, kernel=kernel, output=tmp_path / "out")
    manifest = image.path / "manifest.json"
    fields = json.loads(manifest.read_text())
    config = fields["config"]
    for change, message in (
        ({"format": 0}, "another version"),
        ({"extra": 1}, "damaged image"),
        ({"kernel_size": 1}, "damaged image"),
        ({"bus": "isa"}, "damaged image: bus cannot be 'isa'"),
        ({"name": "../../x"}, "damaged image: '../../x' cannot be its name"),
        ({"disk_size": 1}, "damaged image: disk_size cannot be 1 with that disk_sha256"),
        ({"disk_size": -1, "disk_sha256": "0"}, "damaged image: no file has -1 bytes"),
        ({"disk_size": 1, "disk_sha256": "0"}, "root.erofs: damaged image"),
        ({"config": {}}, "damaged image: config.cmd is missing, or unknown"),
        ({"config": {**config, "env": "A=1"}}, "damaged image: config.env is no array"),
        ({"config": {**config, "env": ["=1"]}}, "damaged image: the variable '=1' is not"),
        ({"config": {**config, "cmd": ["a\0"]}}, r"damaged image: 'a\\x00' has a NUL in it"),
        ({"config": {**config, "user": "\ud800"}}, "damaged image: .*surrogates"),
        ({"warm": [["true", 1]]}, r"damaged image: warm\[0\]\[1\] is not of type str"),
    ):
        manifest.write_text(json.dumps({**fields, **change}))
        with pytest.raises(ImageError, match=message):
            images.load(image.path)
    for text in ("[]", "[" * 60_000, "null", " " * (2 << 20)):
        manifest.write_text(text)
        with pytest.raises(ImageError, match="damaged image"):
            images.load(image.path)
