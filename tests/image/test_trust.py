"""Tests of caches that other users can change, and of unexpected files in a cache."""

from __future__ import annotations

import itertools
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from tests.support.ordinary import USER, only_root
from tests.support.process_settings import umask

import microvm_image
from microvm import cache as caches
from microvm import images
from microvm.cache import trust, verified
from microvm.errors import CacheError, ImageError
from microvm.system import private
from microvm_image import initramfs
from microvm_image.build import build

pytestmark = pytest.mark.usefixtures("parts")


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """Interrupt a test that waits for the other end of a FIFO."""

    def interrupt(_: int, __: FrameType | None) -> None:
        pytest.fail("it waits")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@only_root
@pytest.mark.parametrize("part", [".", "images"])
def test_cache_of_another_user_is_refused(cache: Path, part: str) -> None:
    build()
    os.chown(cache / part, USER, USER)
    says = f"the cache .* cannot be trusted: .*belongs to user {USER} .*MICROVM_CACHE; under sudo"
    for use in (microvm_image.default, build, lambda: list(images.entries())):
        with pytest.raises(CacheError, match=says):
            use()


@pytest.mark.thorough
@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
@pytest.mark.parametrize("part", [".", "images"])
def test_cache_that_others_can_write_is_refused(cache: Path, part: str, mode: int) -> None:
    build()
    (cache / part).chmod(mode)
    with pytest.raises(CacheError, match="can be written by others"):
        microvm_image.default()


@pytest.mark.parametrize(("mode", "mendable"), [(0o777, True), (0o1777, False)])
def test_no_advice_to_close_a_folder_that_all_share(
    tmp_path: Path, mode: int, mendable: bool
) -> None:
    """If the cache is /tmp itself, `chmod` would lock out all other users."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(trust.Untrusted) as caught:
        trust.check_alone(folder)
    assert caught.value.mendable is mendable
    assert ("chmod" in caught.value.hint) is mendable
    assert "MICROVM_CACHE" in caught.value.hint
    assert "sudo" not in caught.value.hint


@only_root
def test_a_cache_of_root_is_trusted_by_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build()
    monkeypatch.setattr(os, "geteuid", lambda: USER)
    trust.check(cache)
    os.chown(cache, USER, USER)
    trust.check(cache)


@pytest.mark.parametrize(("mode", "refused"), [(0o757, True), (0o777, True), (0o1777, False)])
def test_parents_of_the_cache_are_checked(tmp_path: Path, mode: int, refused: bool) -> None:
    way = tmp_path / "way"
    (way / "cache").mkdir(parents=True)
    way.chmod(mode)
    for path in (way / "cache", way / "none" / "yet"):
        if refused:
            with pytest.raises(CacheError, match="way, on the way to it, can be written by others"):
                trust.check(path)
        else:
            trust.check(path)


def test_private_group_may_write_to_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = tmp_path / "way"
    (way / "cache").mkdir(parents=True)
    way.chmod(0o775)
    monkeypatch.setattr(private, "_is_private", lambda group: group == way.stat().st_gid)
    trust.check(way / "cache")
    monkeypatch.setattr(private, "_is_private", lambda _: False)
    with pytest.raises(CacheError, match="way, on the way to it"):
        trust.check(way / "cache")


def test_groups_without_other_members_are_private() -> None:
    assert private._is_private(0)
    assert not private._is_private(54321)  # of no name


def test_links_to_the_cache_are_followed(tmp_path: Path) -> None:
    (tmp_path / "open" / "cache").mkdir(parents=True)
    (tmp_path / "first").symlink_to(tmp_path / "second")
    (tmp_path / "second").symlink_to("open/../open")
    trust.check(tmp_path / "first" / "cache")
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(CacheError, match="open, on the way to it"):
        trust.check(tmp_path / "first" / "cache")
    (tmp_path / "second").unlink()
    (tmp_path / "second").symlink_to("first")
    with pytest.raises(OSError, match="Too many levels"):
        trust.check(tmp_path / "first" / "cache")


@only_root
def test_link_of_another_user_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "link").symlink_to("cache")
    os.chown(tmp_path / "link", USER, USER, follow_symlinks=False)
    with pytest.raises(CacheError, match=f"link belongs to user {USER}"):
        trust.check(tmp_path / "link")


@only_root
def test_no_image_is_made_in_a_folder_of_another_user(cache: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, USER, USER)
    for output in (theirs / "image", theirs / "new" / "image"):
        with pytest.raises(ImageError, match=f"theirs belongs to user {USER}") as caught:
            build(output=output)
        assert "microvm image export" in caught.value.hint
    assert not list(theirs.iterdir())


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
def test_modes_do_not_depend_on_the_umask(
    cache: Path, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = initramfs.write

    def look(*args: object) -> None:
        """No other user may read files while they are written."""
        (private,) = (cache / "images").glob(".*.tmp")
        assert private.stat().st_mode & 0o777 == 0o700
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(initramfs, "write", look)
    with umask(mask):
        build()
    files = {path: path.stat().st_mode & 0o777 for path in cache.rglob("*") if path.is_file()}
    assert {*files.values()} <= {0o400, 0o600, 0o700}
    executable = {path for path, mode in files.items() if mode == 0o700}
    assert all(path.is_relative_to(cache / "programs") for path in executable)
    read_only = {path.name for path, mode in files.items() if mode == 0o400}
    assert read_only == {"kernel", "initramfs.cpio"}
    folders = [cache, *(path for path in cache.rglob("*") if path.is_dir())]
    assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


def _fifo(path: Path) -> None:
    caches.clear(path)
    os.mkfifo(path)


def _folder(path: Path) -> None:
    caches.clear(path)
    path.mkdir()


def _link(path: Path) -> None:
    path.replace(path.with_name(".aside"))
    path.symlink_to(".aside")


def _writable(path: Path) -> None:
    path.chmod(0o666)


FILES = (
    "images/*/manifest.json",
    "images/*/kernel",
    "images/*/initramfs.cpio",
    "images/*/verified.json",
    "defaults/*",
    "programs/*/init",
    "downloads/*",
)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("part", "plant"),
    [
        *itertools.product(("images/*", *FILES), [_fifo]),
        *itertools.product(FILES[1::2], [_folder, _link, _writable]),
    ],
)
def test_special_files_are_neither_used_nor_waited_for(
    cache: Path, part: str, plant: Callable[[Path], None]
) -> None:
    image = build()
    (path,) = cache.glob(part)
    plant(path)
    assert microvm_image.default() == image
    assert build() == image
    if path.name != verified.RECORD:
        assert stat.S_IMODE(path.lstat().st_mode) in {0o400, 0o600, 0o700}
    assert image.kernel.read_bytes() == Path(os.environ["MICROVM_KERNEL"]).read_bytes()
    assert [found for _, found in images.entries()] == [image]
