"""Tests of files that are copied into a real guest and out of it."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.small_disk import small_disk
from tests.support.target import build, target

from microvm import (
    ExecTimeout,
    FileError,
    FileForbidden,
    FileNotFound,
    IsAFolder,
    MicroVM,
    NotAFolder,
    UsageError,
)
from microvm.images import Image
from microvm.system.compiler import compiler
from microvm_image.recipe import AddStep, Recipe

MIB = 1 << 20


@pytest_asyncio.fixture(loop_scope="session")
async def folder(vm: MicroVM) -> AsyncIterator[str]:
    yield "/tmp/files"
    await vm.run(["rm", "-rf", "/tmp/files"], check=True)


def contents(root: Path) -> dict[str, bytes | str]:
    """Return the contents of a folder by path; for links, their targets."""
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.fspath(path.readlink())
        else:
            found[name] = path.read_bytes() if path.is_file() else ""
    return found


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "inner/empty").mkdir(parents=True)
    (root / "inner/large").write_bytes(os.urandom(3 * MIB + 5))
    (root / "empty").touch()
    (root / "script").write_text("#!/bin/sh\necho ran\n")
    (root / "script").chmod(0o755)
    (root / os.fsdecode(b"not UTF-8 \xff \n")).write_bytes(b"odd")
    (root / "link").symlink_to("inner/large")
    return root


async def test_a_file_is_written_and_read(vm: MicroVM, folder: str) -> None:
    path = f"{folder}/new/file"
    await vm.write_file(path, "grüße\n")
    assert await vm.read_file(path) == "grüße\n".encode()
    assert await vm.read_file(path, encoding="utf-8") == "grüße\n"
    done = await vm.run(["stat", "-c", "%a %U", path], text=True)
    assert done.stdout == "644 root\n"
    await vm.write_file(path, b"#!/bin/sh\necho ran\n", mode=0o755)
    assert (await vm.run([path])).stdout == b"ran\n"
    await vm.write_file(path, b"#!/bin/sh\necho again\n")
    assert (await vm.run([path])).stdout == b"again\n"
    await vm.write_file(path, b"")
    assert await vm.read_file(path) == b""


async def test_files_are_written_from_any_source_of_bytes(vm: MicroVM, folder: str) -> None:
    data = os.urandom(MIB + 1)
    pieces = [data[:100], b"", data[100:]]

    async def later() -> AsyncIterator[bytes]:
        for piece in pieces:
            await asyncio.sleep(0)
            yield piece

    for source in (bytearray(data), memoryview(data), io.BytesIO(data), iter(pieces), later()):
        await vm.write_file(f"{folder}/file", source)
        assert await vm.read_file(f"{folder}/file") == data


async def test_folders_are_copied_in_and_out_unchanged(
    vm: MicroVM, folder: str, tree: Path, tmp_path: Path
) -> None:
    await vm.put(tree, f"{folder}/new")
    assert (await vm.run([f"{folder}/new/script"])).stdout == b"ran\n"
    received = await vm.get(f"{folder}/new", tmp_path / "back")
    assert received.path == tmp_path / "back"
    assert received.left_out == ()
    sizes = [len(data) for data in contents(tree).values() if isinstance(data, bytes)]
    assert received.size == sum(sizes)
    assert contents(tmp_path / "back") == contents(tree)
    for name in ("script", "inner/large", "empty"):
        before, after = (tree / name).stat(), (tmp_path / "back" / name).stat()
        assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns)


async def test_archives_are_copied_in_and_out_unchanged(
    vm: MicroVM, folder: str, tree: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "packed"
    pack = ["tar", "czf", str(packed), "-C", str(tree), "."]
    await asyncio.to_thread(subprocess.run, pack, check=True)
    with packed.open("rb") as archive:
        await vm.put_archive(archive, f"{folder}/new")
    assert (await vm.run([f"{folder}/new/script"])).stdout == b"ran\n"
    made = tmp_path / "made"
    with made.open("wb") as archive:
        received = await vm.get_archive(f"{folder}/new", archive)
    assert (received.path, received.left_out) == (Path("new"), ())
    (tmp_path / "back").mkdir()
    unpack = ["tar", "xf", str(made), "-C", str(tmp_path / "back")]
    await asyncio.to_thread(subprocess.run, unpack, check=True)
    assert contents(tmp_path / "back/new") == contents(tree)
    for name in ("script", "inner/large"):
        before, after = (tree / name).stat(), (tmp_path / "back/new" / name).stat()
        assert (before.st_mode, int(before.st_mtime)) == (after.st_mode, after.st_mtime)


async def test_truncated_archive_changes_nothing(vm: MicroVM, folder: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("first"))
    for data, why in (
        (packed.getvalue()[:512], "cut short"),
        (b"no archive", "cannot read the archive"),
    ):
        with pytest.raises(UsageError, match=why):
            await vm.put_archive(io.BytesIO(data), f"{folder}/new")
    with pytest.raises(FileNotFound):
        await vm.stat(folder)
    made = io.BytesIO()
    with pytest.raises(FileNotFound):
        await vm.get_archive(f"{folder}/new", made)
    assert made.getvalue() == b""


async def test_copies_have_the_destination_of_cp(vm: MicroVM, folder: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    await vm.put(source / "file", f"{folder}/")
    await vm.put(source / "file", f"{folder}/other")
    await vm.put(source, folder)
    await vm.put(f"{source}/.", f"{folder}/content")
    await vm.put(f"{source}/.", folder)
    found = await vm.run(["find", folder, "-type", "f"], text=True)
    assert sorted(found.stdout.splitlines()) == [
        f"{folder}/{name}" for name in ("content/file", "file", "other", "source/file")
    ]
    there = tmp_path / "there"
    there.mkdir()
    await vm.get(f"{folder}/source", there)
    await vm.get(f"{folder}/source/.", there)
    await vm.get(f"{folder}/source", f"{there}/new")
    await vm.get(f"{folder}/other", f"{there}/in/")
    names = {"source", "source/file", "file", "new", "new/file", "in", "in/other"}
    assert contents(there).keys() == names


async def test_errors_are_oserrors_with_the_path_in_the_guest(vm: MicroVM, folder: str) -> None:
    await vm.write_file(f"{folder}/file", "x")
    with pytest.raises(FileNotFoundError) as caught:
        await vm.read_file(f"{folder}/none")
    assert isinstance(caught.value, FileNotFound)
    assert caught.value.filename == f"{folder}/none"
    assert str(caught.value) == f"{folder}/none: No such file or directory in the guest"
    with pytest.raises(IsAFolder):
        await vm.read_file(folder)
    with pytest.raises(IsAFolder):
        await vm.write_file(folder, "x")
    with pytest.raises(NotAFolder):
        await vm.list(f"{folder}/file")
    with pytest.raises(NotAFolder):
        await vm.write_file(f"{folder}/file/x", "x")
    with pytest.raises(FileForbidden):
        await vm.write_file("/etc/passwd", "x", user="nobody")
    with pytest.raises(FileError, match="no such user: bob"):
        await vm.write_file(f"{folder}/file", "x", user="bob")
    await vm.run(["truncate", "-s", "2M", f"{folder}/large"], check=True)
    with pytest.raises(FileError, match="max_size") as large:
        await vm.read_file(f"{folder}/large", max_size="1M")
    assert large.value.errno == errno.EFBIG
    assert await vm.read_file(f"{folder}/file") == b"x"


async def test_stat_and_list_return_the_files(vm: MicroVM, folder: str) -> None:
    await vm.write_file(f"{folder}/b", "12345", mode=0o600)
    await vm.run(["ln", "-s", "b", f"{folder}/a"], check=True)
    link, file = await vm.list(folder)
    assert (link.name, link.is_symlink, link.target) == ("a", True, "b")
    assert (file.name, file.is_file, file.size, file.mode & 0o777) == ("b", True, 5, 0o600)
    followed = await vm.stat(f"{folder}/a")
    assert (followed.name, followed.size) == (f"{folder}/a", 5)
    assert (await vm.stat(f"{folder}/a", follow_symlinks=False)).is_symlink
    assert (await vm.stat(folder)).is_folder
    with pytest.raises(FileError, match="max_files"):
        await vm.list(folder, max_files=1)


async def test_full_disk_of_the_guest_leaves_no_partial_file(
    vm: MicroVM, folder: str, tree: Path
) -> None:
    await vm.run(["mkdir", "-p", folder], check=True)
    await vm.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    try:
        await vm.write_file(f"{folder}/small", "kept")
        for putting in (
            vm.write_file(f"{folder}/small", bytes(2 * MIB), atomic=True),
            vm.write_file(f"{folder}/new", bytes(2 * MIB)),
            vm.put(tree, f"{folder}/tree"),
        ):
            with pytest.raises(FileError, match="No space left on device") as caught:
                await putting
            assert caught.value.errno == errno.ENOSPC
        assert [file.name for file in await vm.list(folder)] == ["small"]
        assert await vm.read_file(f"{folder}/small") == b"kept"
    finally:
        await vm.run(["umount", folder], check=True)


async def test_full_disk_of_the_host_is_an_oserror(
    vm: MicroVM, folder: str, tmp_path: Path
) -> None:
    await vm.write_file(f"{folder}/large", bytes(2 * MIB))
    with small_disk(tmp_path / "small", "1m") as small:
        with pytest.raises(OSError, match="No space left on device") as caught:
            await vm.get(f"{folder}/large", small / "large")
        assert not isinstance(caught.value, FileError)
        assert caught.value.filename == str(small)
        assert list(small.iterdir()) == []
    assert await vm.read_file(f"{folder}/large", max_size="2M") == bytes(2 * MIB)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_interrupted_transfer_leaves_no_partial_file(
    vm: MicroVM, folder: str, cancelled: bool
) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        if cancelled:
            writing.cancel()
        await asyncio.Event().wait()

    await vm.write_file(f"{folder}/file", "kept")
    timeout = None if cancelled else "500ms"
    writing = asyncio.create_task(
        vm.write_file(f"{folder}/file", stalled(), timeout=timeout or "1h", atomic=True)
    )
    with pytest.raises(asyncio.CancelledError if cancelled else ExecTimeout):
        await writing
    assert [file.name for file in await vm.list(folder)] == ["file"]
    assert await vm.read_file(f"{folder}/file") == b"kept"


async def test_excluded_files_are_not_copied(vm: MicroVM, folder: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("README", "src/a.py", "src/build/b", "src/.git/x/y", "src/a.pyc", "build/c/d"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    (tree / "link.pyc").symlink_to("README")
    kept = {"README", "src", "src/a.py", "src/build", "src/build/b", "build"}
    patterns = [".git/", "*.pyc", "build/*"]

    await vm.put(tree, folder, exclude=patterns)
    await vm.get(folder, tmp_path / "first")
    assert contents(tmp_path / "first").keys() == kept
    await vm.put(tree, f"{folder}/all")
    received = await vm.get(f"{folder}/all", tmp_path / "second", exclude=patterns)
    assert contents(tmp_path / "second") == contents(tmp_path / "first")
    assert received.files == len(kept) + 1
    archive = io.BytesIO()
    await vm.get_archive(f"{folder}/all", archive, exclude=patterns)
    with tarfile.open(fileobj=io.BytesIO(archive.getvalue())) as members:
        assert {*members.getnames()} == {"all", *(f"all/{name}" for name in kept)}
    with pytest.raises(UsageError, match=r"exclude has to be a list of patterns"):
        await vm.put(tree, folder, exclude="*.pyc")


async def test_files_are_changed_and_found(vm: MicroVM, folder: str) -> None:
    await vm.make_dir(folder)
    await vm.make_dir(f"{folder}/a/b", owner="nobody")
    assert (await vm.stat(f"{folder}/a")).uid == 65534
    with pytest.raises(FileExistsError):
        await vm.make_dir(f"{folder}/a", exist_ok=False)
    with pytest.raises(FileNotFoundError):
        await vm.make_dir(f"{folder}/c/d", parents=False)
    await vm.run(["ln", "-s", "b", "link"], cwd=f"{folder}/a", check=True)
    assert await vm.realpath(f"{folder}/a/link/new") == f"{folder}/a/b/new"
    assert [file.is_symlink for file in await vm.list(f"{folder}/a")] == [False, True]
    found = await vm.list(f"{folder}/a", follow_symlinks=True)
    assert [(file.name, file.is_folder) for file in found] == [("b", True), ("link", True)]
    await vm.rename(f"{folder}/a", f"{folder}/renamed")
    assert not await vm.exists(f"{folder}/a/link")
    assert await vm.exists(f"{folder}/renamed/link")
    with pytest.raises(PermissionError):
        await vm.remove(f"{folder}/renamed", recursive=True, user="nobody")
    assert await vm.exists(f"{folder}/renamed/b")
    with pytest.raises(IsADirectoryError):
        await vm.remove(f"{folder}/renamed")
    await vm.remove(f"{folder}/renamed", recursive=True)
    with pytest.raises(FileNotFoundError):
        await vm.remove(f"{folder}/renamed")
    await vm.remove(f"{folder}/renamed", missing_ok=True)


async def test_mount_points_are_not_removed(vm: MicroVM, folder: str) -> None:
    await vm.make_dir(f"{folder}/mounted")
    await vm.run(["mount", "-t", "tmpfs", "tmpfs", f"{folder}/mounted"], check=True)
    await vm.write_file(f"{folder}/mounted/file", "kept")
    await vm.write_file(f"{folder}/other", "removed")
    for path in (folder, f"{folder}/mounted"):
        with pytest.raises(FileError) as caught:
            await vm.remove(path, recursive=True)
        assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, f"{folder}/mounted")
    assert [file.name for file in await vm.list(folder)] == ["mounted"]
    assert await vm.read_file(f"{folder}/mounted/file") == b"kept"
    await vm.run(["umount", f"{folder}/mounted"], check=True)


@pytest.fixture
def empty(tmp_path: Path) -> Image:
    """An image of one program that does nothing, with an unprivileged user."""
    (tmp_path / "nothing.c").write_text("int main(void) { return 0; }\n")
    command = [*compiler(target(), "a test", libc=True), "-static", "-o", "nothing", "nothing.c"]
    subprocess.run(command, check=True, cwd=tmp_path)
    steps = (AddStep(Path("nothing"), "/nothing"),)
    return build(Recipe(source="scratch", steps=steps, user="1000", folder=tmp_path))


@pytest.mark.thorough
async def test_files_can_be_copied_with_an_empty_image(
    empty: Image, tree: Path, tmp_path: Path
) -> None:
    async with MicroVM(empty) as vm:
        with pytest.raises(FileForbidden):
            await vm.write_file("/etc/file", "x")
        await vm.put(tree, "/data/tree", user=0, owner=1000)
        await vm.get("/data/tree", tmp_path / "back")
        assert contents(tmp_path / "back") == contents(tree)
        assert (await vm.stat("/data/tree/script")).uid == 1000
        assert {file.name for file in await vm.list("/")} >= {"data", "nothing"}
