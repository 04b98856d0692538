"""Tests of the origin of the archive, and of wrong archives."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.image import mirror

import microvm_image
from microvm import arches, guest_pack
from microvm.errors import ImageError
from microvm.images.config import ImageConfig
from microvm.progress import LineReporter, NullReporter, Reporter
from microvm_image import rootfs
from microvm_image.source import ImageSource
from microvm_image.sources import busybox

NOWHERE = "http://127.0.0.1:9/alpine"
BUSYBOX = ImageSource("busybox-1.2", "busybox-1.2", "0" * 64, ImageConfig(), ())


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the busybox package unavailable."""

    def none(*_: object) -> ImageSource:
        raise ImageError("no apt here")

    monkeypatch.setattr(busybox, "source", none)


def find(path: Path | None = None, mirror: str = NOWHERE, report: Reporter | None = None) -> str:
    return rootfs.find(arches.find(), path, mirror, report or NullReporter()).name


@pytest.mark.parametrize("place", ["folder", "another name", "variable"])
def test_archive_is_found_and_kept_in_the_cache(
    place: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path: Path | None = archive.parent
    if place == "another name":
        path = archive = archive.rename(archive.with_name("rootfs.tgz"))
    elif place == "variable":
        monkeypatch.setenv("MICROVM_ROOTFS", str(archive))
        path = None
    assert find(path) == "alpine-3.20.3"
    monkeypatch.delenv("MICROVM_ROOTFS", raising=False)
    archive.unlink()
    assert find() == "alpine-3.20.3"


@pytest.mark.usefixtures("no_package")
@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b"", lambda b: b + b"\0"])
def test_archive_with_another_checksum_is_an_error(
    archive: Path, change: Callable[[bytes], bytes], cache: Path
) -> None:
    archive.write_bytes(change(archive.read_bytes()))
    with pytest.raises(ImageError, match=r"gz: wrong checksum: its SHA-256 is \w{64}, not \w{64}"):
        find(archive)
    assert not cache.exists()


@pytest.mark.parametrize("name", ["missing", ".", "too-long" * 40, "x/" * 2500])
def test_a_named_archive_that_cannot_be_read_is_an_error(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match=r"--rootfs names .* cannot be read") as caught:
        find(tmp_path / name)
    assert "MICROVM_ROOTFS" not in caught.value.hint
    monkeypatch.setenv("MICROVM_ROOTFS", str(tmp_path / name))
    for use in (find, microvm_image.default):
        with pytest.raises(ImageError, match=r"MICROVM_ROOTFS names .* cannot be read") as caught:
            use()
        assert "`unset MICROVM_ROOTFS`" in caught.value.hint


def test_busybox_replaces_the_archive_with_a_notice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(busybox, "source", lambda *_: BUSYBOX)
    with mirror.serving({}, {}) as empty:
        for address, reason in ((empty, "404"), (NOWHERE, "refused")):
            assert find(mirror=address, report=LineReporter()) == "busybox-1.2"
            step, notice = capsys.readouterr().err.splitlines()
            assert address in step
            assert reason in notice
            assert notice.endswith("the image has busybox-1.2 instead")


@pytest.mark.usefixtures("no_package")
def test_error_names_both_reasons_without_any_source() -> None:
    reasons = r"guest pack microvm-proto-guest-\S+ is not installed; .*refused; no apt here"
    with pytest.raises(ImageError, match=reasons) as caught:
        find()
    hint = caught.value.hint
    assert f"`pip install '{guest_pack.wanted(arches.find())}'`" in hint
    assert "MICROVM_ROOTFS" in hint
    assert "MICROVM_MIRROR" in hint
    assert "--" not in hint, "`microvm run` has no such option"


def test_default_image_is_found_without_the_builder() -> None:
    script = "import sys, microvm_image.defaults; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True).split()
    assert {f"microvm_image.{each}" for each in ("layer", "tree", "build")}.isdisjoint(loaded)
