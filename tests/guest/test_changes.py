"""Tests of the requests by which carry creates, removes, renames and resolves files."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from tests.support.carry import DONE, Carry, failure, request

from microvm.wire import files
from microvm.wire.files import Action

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acting as others takes root")


def make(path: Path | str, *, parents: bool = True, exist_ok: bool = True) -> files.Request:
    return request(Action.MAKE_FOLDER, path, recursive=parents, idempotent=exist_ok)


def remove(path: Path | str, *, recursive: bool = True, missing_ok: bool = False) -> files.Request:
    return request(Action.REMOVE, path, recursive=recursive, idempotent=missing_ok)


def resolved(carry: Carry, path: Path | str, cwd: Path | str = "") -> str:
    first, *rest = carry(request(Action.RESOLVE, path, cwd=os.fsencode(cwd)))
    assert isinstance(first, files.Entry), first
    assert rest == DONE
    return os.fsdecode(first.target)


def nested(top: Path, depth: int) -> None:
    """Create a folder that contains further folders, down to this depth."""
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    for _ in range(depth - 1):
        os.mkdir("d", dir_fd=at)
        inner = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)


def test_folder_is_created_with_its_parents(carry: Carry, tmp_path: Path) -> None:
    assert carry(make(tmp_path / "a/b//c/")) == DONE
    assert stat.S_IMODE((tmp_path / "a/b/c").stat().st_mode) == 0o755
    code, path = failure(carry(make(tmp_path / "d/e", parents=False)))
    assert (code, path) == (errno.ENOENT, str(tmp_path / "d/e"))
    assert carry(make(tmp_path / "d", parents=False)) == DONE
    assert (tmp_path / "d").is_dir()


@pytest.mark.parametrize("parents", [True, False])
def test_existing_folder_is_accepted_on_request(
    carry: Carry, tmp_path: Path, parents: bool
) -> None:
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for path in (tmp_path, tmp_path / "link", "/"):
        assert carry(make(path, parents=parents)) == DONE
        code, _ = failure(carry(make(path, parents=parents, exist_ok=False)))
        assert code == errno.EEXIST
    for name in ("file", "dangling"):
        sent = make(tmp_path / name, parents=parents)
        assert failure(carry(sent)) == (errno.EEXIST, str(tmp_path / name))
    code, _ = failure(carry(make(tmp_path / "file/inner", parents=parents)))
    assert code == errno.ENOTDIR
    assert failure(carry(make("", parents=parents)))[0] == errno.ENOENT


@as_root
def test_created_folders_get_the_owner(carry: Carry, tmp_path: Path) -> None:
    sent = request(Action.MAKE_FOLDER, tmp_path / "a/b", recursive=1, owner=b"12:34")
    assert carry(sent) == DONE
    for path in (tmp_path / "a", tmp_path / "a/b"):
        assert (path.stat().st_uid, path.stat().st_gid) == (12, 34)


def test_tree_is_removed_without_following_links(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").touch()
    top = tmp_path / "top"
    for number in range(150):
        folder = top / f"folder {number % 3}" / f"inner {number}"
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (top / "link").symlink_to(tmp_path / "kept")
    os.mkfifo(top / "fifo")
    assert carry(remove(top)) == DONE
    (tmp_path / "link").symlink_to("kept")
    assert carry(remove(tmp_path / "link")) == DONE
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "file"]


def test_folder_is_only_removed_recursively(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    sent = remove(tmp_path / "folder", recursive=False)
    assert failure(carry(sent)) == (errno.EISDIR, str(tmp_path / "folder"))
    assert carry(remove(f"{tmp_path}/folder/")) == DONE
    (tmp_path / "file").touch()
    assert carry(remove(tmp_path / "file", recursive=False)) == DONE
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("recursive", [True, False])
def test_missing_file_is_accepted_on_request(carry: Carry, tmp_path: Path, recursive: bool) -> None:
    sent = remove(tmp_path / "none", recursive=recursive)
    assert failure(carry(sent)) == (errno.ENOENT, str(tmp_path / "none"))
    assert carry(remove(tmp_path / "none", recursive=recursive, missing_ok=True)) == DONE


@pytest.mark.parametrize("end", ["..", "../", "inner/../..", ".", "./"])
def test_folder_above_is_never_emptied(carry: Carry, tmp_path: Path, end: str) -> None:
    (tmp_path / "top/inner").mkdir(parents=True)
    (tmp_path / "file").touch()
    code, _ = failure(carry(remove(f"{tmp_path}/top/{end}")))
    assert code == errno.EINVAL
    assert (tmp_path / "top/inner").is_dir()
    assert (tmp_path / "file").exists()


def test_depth_of_a_removed_tree_is_limited(carry: Carry, tmp_path: Path) -> None:
    """All other files are removed, and a descriptor is open only for each nested folder."""
    nested(tmp_path / "deepest", files.MAX_DEPTH + 1)
    assert carry(remove(tmp_path / "deepest")) == DONE
    nested(tmp_path / "deeper", files.MAX_DEPTH + 2)
    (tmp_path / "deeper/file").touch()
    code, path = failure(carry(remove(tmp_path / "deeper")))
    assert (code, path) == (errno.ENAMETOOLONG, f"{tmp_path}/deeper" + "/d" * files.MAX_DEPTH)
    assert not (tmp_path / "deeper/file").exists()


@as_root
def test_error_has_the_path_of_the_first_file_that_remains(carry: Carry, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for each in tmp_path.parents:
        each.chmod(each.stat().st_mode | 0o001)
    (tmp_path / "top/kept").mkdir(parents=True)
    (tmp_path / "top").chmod(0o777)
    (tmp_path / "top/kept/file").touch()
    (tmp_path / "top/kept").chmod(0o755)
    (tmp_path / "top/other").touch()
    sent = request(Action.REMOVE, tmp_path / "top", recursive=1, user=b"1234")
    assert failure(carry(sent)) == (errno.EACCES, f"{tmp_path}/top/kept/file")
    assert [path.name for path in tmp_path.rglob("*")] == ["top", "kept", "file"]


def test_file_is_renamed_and_replaces_another(carry: Carry, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)

    def renamed(old: str, new: str) -> list[files.Message]:
        sent = request(Action.RENAME, old, new_path=new.encode(), cwd=os.fsencode(tmp_path))
        return carry(sent)

    assert renamed("a", "b") == DONE
    assert (tmp_path / "b").read_text() == "a"
    assert failure(renamed("a", "b")) == (errno.ENOENT, "a")
    assert failure(renamed("b", "none/c")) == (errno.ENOENT, "none/c")
    (tmp_path / "folder").mkdir()
    assert failure(renamed("b", "folder")) == (errno.EISDIR, "folder")
    assert renamed("folder", str(tmp_path / "moved")) == DONE
    assert {path.name for path in tmp_path.iterdir()} == {"b", "moved"}


def test_path_is_resolved(carry: Carry, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file").touch()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert resolved(carry, tmp_path / "link/../link/file") == f"{tmp_path}/folder/file"
    assert resolved(carry, "link//./file", tmp_path) == f"{tmp_path}/folder/file"
    assert resolved(carry, "/") == "/"
    for path in ("link/a/./b//c/", f"{tmp_path}/link/a/b/c"):
        assert resolved(carry, path, tmp_path) == f"{tmp_path}/folder/a/b/c"
    assert resolved(carry, "none", tmp_path) == f"{tmp_path}/none"
    assert resolved(carry, "/none/other") == "/none/other"
    (tmp_path / "folder/up").symlink_to("../beside")
    (tmp_path / "absolute").symlink_to(tmp_path / "link/file")
    (tmp_path / "loop").symlink_to("loop")
    missing = ("none/../a", "dangling", "dangling/a", "folder/file/a", "none/..", "/..", "../..")
    slashes = ("dangling/", "dangling/.", "none/", "absolute/")
    for path in (*missing, *slashes, "folder/up/missing", "folder/up/..", "link/up", "absolute"):
        assert resolved(carry, path, tmp_path) == os.path.realpath(tmp_path / path)
    for path, code in {"": errno.ENOENT, "loop": errno.ELOOP, "loop/a": errno.ELOOP}.items():
        sent = request(Action.RESOLVE, path, cwd=os.fsencode(tmp_path))
        assert failure(carry(sent)) == (code, path)
    long = "/none" + "/x" * 2044
    assert resolved(carry, long) == long
    (tmp_path / "deep").mkdir()
    sent = request(Action.RESOLVE, "n/" * 2047, cwd=os.fsencode(tmp_path))
    assert failure(carry(sent))[0] == errno.ENAMETOOLONG
