"""Tests of the origin of the archive, and of wrong archives."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.ordinary import acting_as_user

import microvm_image
from microvm import arches, guest_pack
from microvm.errors import ImageError
from microvm.images.config import ImageConfig
from microvm.progress import LineReporter, NullReporter, Reporter
from microvm_image import rootfs
from microvm_image.source import ImageSource
from microvm_image.sources import alpine, busybox

NOWHERE = "http://127.0.0.1:9/alpine"
BUSYBOX = ImageSource("busybox-1.2", "busybox-1.2", "0" * 64, ImageConfig(), ())


class Quiet(SimpleHTTPRequestHandler):
    """A mirror that writes no log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Write no log."""


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Return the address of a mirror, and the path of the archive on it."""
    top = tmp_path / "mirror"
    place = top / alpine.url(arches.find(), "")[1:]
    place.parent.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(top))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", place
        server.shutdown()


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


def test_archive_in_an_unreadable_folder_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="microvm-test-", dir="/tmp"))
    folder.chmod(0)
    monkeypatch.setenv("MICROVM_ROOTFS", str(folder / "archive"))
    with acting_as_user(), pytest.raises(ImageError, match=r"cannot be read: Permission denied"):
        find()
    folder.rmdir()


@pytest.mark.thorough
@pytest.mark.parametrize("by_variable", [False, True])
def test_archive_is_downloaded_from_a_mirror_and_compared(
    by_variable: bool, archive: Path, mirror: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, path = mirror
    if by_variable:
        monkeypatch.setenv("MICROVM_MIRROR", address)
        address = ""
    path.write_bytes(b"something else")
    with pytest.raises(ImageError, match="wrong checksum"):
        find(mirror=address)
    archive.rename(path)
    assert find(mirror=address) == "alpine-3.20.3"


def test_busybox_replaces_the_archive_with_a_notice(
    mirror: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(busybox, "source", lambda *_: BUSYBOX)
    for address, reason in ((mirror[0], "404"), (NOWHERE, "refused")):
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
