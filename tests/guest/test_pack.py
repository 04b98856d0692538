"""Tests of pack, the program that writes a layer, also with folders of hostile content."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.daemon import both_builds
from tests.support.members import Members, members

Pack = Callable[[Path], subprocess.CompletedProcess[bytes]]
Packed = Callable[[Path], Members]

MIB = 1 << 20

UNPACKED = 5 * MIB
"""Maximum number of bytes of files in these tests."""

LIMIT = ["prlimit", f"--as={32 * MIB}"]
"""Maximum memory of pack, in bytes, for any input; the sanitizers use more."""


@pytest.fixture
def pack(binary: Path) -> Pack:
    """A function that packs a folder."""
    limit = LIMIT if "shipped" in str(binary) else []

    def run(folder: Path) -> subprocess.CompletedProcess[bytes]:
        command = [*limit, str(binary.with_name("pack")), str(folder), str(UNPACKED)]
        return subprocess.run(command, capture_output=True, check=False, timeout=120)

    return run


@pytest.fixture
def packed(pack: Pack) -> Packed:
    """A function that packs a folder, and returns the members of the complete tar archive."""

    def read(folder: Path) -> Members:
        done = pack(folder)
        assert (done.returncode, done.stderr) == (0, b"")
        return members(done.stdout)

    return read


def as_root(folder: Path) -> None:
    """Skip the test if we may not create devices or attributes of the kernel."""
    try:
        os.mknod(folder / "probe", stat.S_IFCHR, os.makedev(1, 3))
        os.setxattr(folder / "probe", "trusted.probe", b"")
    except OSError as error:
        pytest.skip(f"devices and attributes take root: {error}")
    (folder / "probe").unlink()


@both_builds
def test_files_folders_and_links(packed: Packed, tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True, mode=0o750)
    (tmp_path / "d/e/file").write_bytes(b"x" * 70_000)
    (tmp_path / "d/e/file").chmod(0o4711)
    (tmp_path / "link").symlink_to("/nowhere/else")
    os.link(tmp_path / "d/e/file", tmp_path / "again")
    os.mkfifo(tmp_path / "fifo", 0o640)
    os.utime(tmp_path / "d/e/file", (0, 86400))
    os.utime(tmp_path / "d", (0, -86400))
    found = packed(tmp_path)
    assert set(found) == {"d", "d/e", "d/e/file", "link", "again", "fifo"}
    assert (found["d"][0].mtime, found["d/e"][0].mode) == (-86400, 0o750)
    linked = {name: found[name] for name in ("d/e/file", "again")}
    [(first, data)] = [each for each in linked.values() if each[0].isreg()]
    [(second, _)] = [each for each in linked.values() if each[0].islnk()]
    assert (first.mode, first.mtime, data) == (0o4711, 86400, b"x" * 70_000)
    assert second.linkname == first.name
    assert found["link"][0].linkname == "/nowhere/else"
    assert (found["fifo"][0].type, found["fifo"][0].mode) == (tarfile.FIFOTYPE, 0o640)


def test_removed_files_become_whiteouts(packed: Packed, tmp_path: Path) -> None:
    as_root(tmp_path)
    whiteout = tmp_path / "gone"
    os.mknod(whiteout, stat.S_IFCHR, 0)
    (tmp_path / "d").mkdir()
    os.link(whiteout, tmp_path / "d/gone, too")  # since all whiteouts of an overlay share one inode
    (tmp_path / "new").mkdir()
    os.setxattr(tmp_path / "new", "trusted.overlay.opaque", b"y")
    (tmp_path / "new/file").touch()
    found = packed(tmp_path)
    assert set(found) == {
        *(".wh.gone", "d", "d/.wh.gone, too"),
        *("new", "new/.wh..wh..opq", "new/file"),
    }
    assert all(found[name][0].isreg() for name in found if ".wh." in name)
    assert not found["new"][0].pax_headers


def test_devices_owners_and_attributes(packed: Packed, tmp_path: Path) -> None:
    as_root(tmp_path)
    able = b"\1\0\0\2\0\4\0\0" + bytes(12)
    (tmp_path / "able").touch()
    os.setxattr(tmp_path / "able", "security.capability", able)
    os.setxattr(tmp_path / "able", "user.odd", b"\0\n=\xff 12 path=x\n")
    os.setxattr(tmp_path / "able", "user.empty", b"")
    os.setxattr(tmp_path / "able", "trusted.overlay.origin", b"the overlay's own")
    os.chown(tmp_path / "able", 4_000_000, 3_000_000)
    os.setxattr(tmp_path / "able", "security.capability", able)  # since chown has removed it
    os.mknod(tmp_path / "tty", stat.S_IFCHR | 0o620, os.makedev(5, 1_000_000))
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 7))
    found = packed(tmp_path)
    info = found["able"][0]
    assert (info.uid, info.gid) == (4_000_000, 3_000_000)
    kept = {
        key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
        for key, value in info.pax_headers.items()
        if key.startswith("SCHILY.")
    }
    assert kept == {
        "security.capability": able,
        "user.odd": b"\0\n=\xff 12 path=x\n",
        "user.empty": b"",
    }
    tty, disk = found["tty"][0], found["disk"][0]
    assert (tty.type, tty.devmajor, tty.devminor) == (tarfile.CHRTYPE, 5, 1_000_000)
    assert (disk.type, disk.devmajor, disk.devminor) == (tarfile.BLKTYPE, 259, 7)


@both_builds
def test_names_are_bytes_of_any_kind_and_length(packed: Packed, tmp_path: Path) -> None:
    names = [b"n" * 255, b"\xff\xfe\n\x01 =", "é".encode() * 127, b"-rf", b" ", b"..."]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()
        (tmp_path / os.fsdecode(name[:-1] + b"_")).mkdir()
        (tmp_path / os.fsdecode(name[:-1] + b"_") / "l").symlink_to(b"t" * 300)
    found = {os.fsencode(name) for name in packed(tmp_path)}
    assert found == {
        each for name in names for each in (name, name[:-1] + b"_", name[:-1] + b"_/l")
    }


def test_sparse_file_keeps_its_length(packed: Packed, tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.seek(3 * MIB)
        file.write(b"end")
        file.truncate(5 * MIB)
    data = packed(tmp_path)["sparse"][1]
    assert (len(data), data.strip(b"\0")) == (5 * MIB, b"end")


def test_size_of_a_file_above_8_gib_is_correct(binary: Path, tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(9 << 30)
    command = [str(binary.with_name("pack")), str(tmp_path), str(9 << 30)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            assert [info.size for info in [archive.next()] if info] == [9 << 30]
        process.stdout.close()
        assert process.wait(60) != 0  # the reader stops here


@both_builds
def test_layer_above_the_limit_is_an_error_at_once(pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"x")
    for size in (200 << 30, UNPACKED):
        with (tmp_path / "huge").open("wb") as file:
            file.truncate(size)
        done = pack(tmp_path)
        assert done.returncode == 1
        assert b"pack: write " in done.stderr
        assert done.stderr.endswith(b": with this file, the changes are larger than the limit\n")
        assert len(done.stdout) <= UNPACKED
        if size > UNPACKED:
            assert done.stderr.startswith(b"pack: write huge: ")
    (tmp_path / "small").unlink()
    assert pack(tmp_path).returncode == 0


def test_sockets_are_left_out(packed: Packed, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/cwd/{os.path.relpath(tmp_path)}/socket")
        assert packed(tmp_path) == {}


@pytest.fixture
def deepen(tmp_path: Path) -> Iterator[Callable[[int, str], Path]]:
    """A function that creates nested folders, deeper than the longest path."""
    top = tmp_path / "deep"
    top.mkdir()

    def make(depth: int, name: str) -> Path:
        here = os.open(top, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir(name, dir_fd=here)
            below = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
        return top

    yield make
    subprocess.run(["rm", "-r", top], check=True)  # shutil would recurse as deep


@both_builds
def test_deeply_nested_folders_are_packed(
    packed: Packed, deepen: Callable[[int, str], Path]
) -> None:
    assert max(map(len, packed(deepen(900, "d")))) == 900 * 2 - 1


@pytest.mark.parametrize(("depth", "name"), [(1100, "d"), (40, "d" * 200)])
def test_folders_too_deep_are_an_error(
    pack: Pack, deepen: Callable[[int, str], Path], depth: int, name: str
) -> None:
    done = pack(deepen(depth, name))
    assert done.returncode == 1
    told = b"pack: enter d/d/d", b"pack: store the files of ddd"
    why = b"d: it is nested in too many folders\n", b"d: a path is too long\n"
    assert done.stderr.startswith(told)
    assert done.stderr.endswith(why)
    assert b"..." in done.stderr
    assert len(done.stderr) < 300


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq", ".wh."])
def test_file_with_the_name_of_a_whiteout_is_an_error(
    pack: Pack, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).touch()
    done = pack(tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"pack: store %b: %b\n" % (
        name.encode(),
        b"in a layer, this name marks a removed file",
    )


def test_attribute_with_an_equals_sign_in_its_name_is_an_error(pack: Pack, tmp_path: Path) -> None:
    as_root(tmp_path)
    (tmp_path / "file").touch()
    os.setxattr(tmp_path / "file", "user.a=b", b"c")
    why = b'an attribute has "=" in its name'
    assert pack(tmp_path).stderr == b"pack: describe file: %b\n" % why


@pytest.mark.parametrize("folder", ["", "nowhere", "file"])
def test_path_that_is_no_folder_is_an_error(pack: Pack, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    done = pack(tmp_path / folder / "x" if not folder else tmp_path / folder)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"pack: open ")


@contextmanager
def meanwhile(change: Callable[[int], None]) -> Iterator[None]:
    """Call a function with a count, again and again, while the block runs."""
    over = threading.Event()

    def loop() -> None:
        count = 0
        while not over.is_set():
            change(count)
            count += 1

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_files_that_change_during_packing(packed: Packed, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}" for number in range(40)]
    for path in paths:
        path.write_bytes(b"x" * 100_000)
    (tmp_path / "still").write_bytes(b"still" * 1000)

    def change(count: int) -> None:
        with paths[count % len(paths)].open("r+b") as file:
            file.truncate(count * 7919 % 200_000)

    with meanwhile(change):
        for _ in range(5):
            found = packed(tmp_path)
            assert len(found) == 41
            assert found["still"][1] == b"still" * 1000
            assert all(not found[path.name][1].strip(b"\0x") for path in paths)


@pytest.mark.thorough
def test_names_that_are_replaced_during_packing(packed: Packed, tmp_path: Path) -> None:
    """The name is a file, a folder, a fifo and a link in turn, and sometimes does not exist."""
    path = tmp_path / "it"
    (tmp_path / "still").touch()

    def change(count: int) -> None:
        if count % 4 == 0:
            path.write_bytes(b"x" * 5000)
        elif count % 4 == 1:
            os.mkfifo(path)
        elif count % 4 == 2:
            path.symlink_to("it")
        else:
            path.mkdir()
            path.rmdir()
        path.unlink(missing_ok=True)

    with meanwhile(change):
        for _ in range(50):
            assert set(packed(tmp_path)) - {"it"} == {"still"}


@both_builds
@pytest.mark.long
def test_more_hard_links_than_the_table_holds(pack: Pack, tmp_path: Path) -> None:
    for number in range((1 << 16) + 1):
        (tmp_path / f"{number}").touch()
        os.link(tmp_path / f"{number}", tmp_path / f"{number} again")
    done = pack(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(b"pack: find the links of ")
