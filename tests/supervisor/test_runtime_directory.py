"""Tests of the runtime directory: its owner, its contents, and the removal of dead machines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.supervisor.test_machines import leave
from tests.support.ordinary import USER, only_root
from tests.support.small_disk import small_disk

from microvm import MicroVM
from microvm.errors import GuestDied, MicroVMError, UsageError
from microvm.supervisor.client.start import Start
from microvm.supervisor.machine_directory import MachineDirectory
from microvm.supervisor.names import random_names
from microvm.supervisor.runtime_directory import RuntimeDirectory, is_name

CREATE = """
import sys
from microvm.errors import MicroVMError
from microvm.supervisor.runtime_directory import RuntimeDirectory
with RuntimeDirectory(make=True) as runtime:
    try:
        directory = runtime.create("one")
    except MicroVMError as error:
        print(error.message, flush=True)
    else:
        print("created", flush=True)
        sys.stdin.read()
"""


def test_only_we_can_enter_the_folders_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0o777)
    try:
        with RuntimeDirectory(make=True) as runtime, runtime.create("one") as directory:
            both = (runtime.descriptor, directory.descriptor)
            modes = [os.fstat(each).st_mode & 0o777 for each in both]
            log = directory.file("log", os.O_WRONLY | os.O_CREAT)
            modes.append(os.fstat(log).st_mode & 0o777)
            os.close(log)
    finally:
        os.umask(before)
    assert modes == [0o700, 0o700, 0o600]
    assert folder.is_dir()


def test_without_a_runtime_directory_no_machine_exists(folder: Path) -> None:
    with RuntimeDirectory() as runtime:
        assert runtime.names() == []
        with pytest.raises(MicroVMError, match="there is no machine one"):
            runtime.open("one")
    assert not folder.exists()


def test_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o750)
    with pytest.raises(MicroVMError, match=r"microvm, cannot be used: it is open to others"):
        RuntimeDirectory()


@only_root
def test_the_folder_of_another_user_is_refused(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    os.chown(folder, USER, USER)
    with pytest.raises(MicroVMError, match="it is of another user"):
        RuntimeDirectory(make=True)


@only_root
@pytest.mark.parametrize("make", [False, True])
def test_parent_must_be_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: bool) -> None:
    (tmp_path / "theirs" / "ours").mkdir(parents=True)
    os.chown(tmp_path / "theirs", USER, USER)
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    for folder in ("theirs", "theirs/ours"):
        monkeypatch.setenv("TMPDIR", str(tmp_path / folder))
        with pytest.raises(MicroVMError, match=f"theirs.* belongs to user {USER}"):
            RuntimeDirectory(make=make)
    assert not list((tmp_path / "theirs").glob("**/microvm-*"))


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_file_instead_of_the_folder_is_refused(folder: Path, kind: str) -> None:
    if kind == "link":
        elsewhere = folder.with_name("elsewhere")
        elsewhere.mkdir(mode=0o700)
        folder.symlink_to(elsewhere)
    else:
        folder.touch()
    with pytest.raises(MicroVMError, match="it is no folder"):
        RuntimeDirectory(make=True)


@pytest.mark.parametrize("given", [None, "", "relative", "/nowhere", "open"])
def test_runtime_folder_falls_back_to_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None
) -> None:
    if given == "open":
        given = str(tmp_path / given)
        Path(given).mkdir()
        Path(given).chmod(0o777)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    if given is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", given)
    with RuntimeDirectory() as runtime:
        assert runtime.path == f"{tmp_path}/microvm-{os.geteuid()}"


@only_root
def test_another_users_session_is_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    os.chown(tmp_path, USER, USER)  # as with `sudo -E`
    with RuntimeDirectory() as runtime:
        assert runtime.path == "/var/tmp/microvm-0"


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a", True), ("0", True), ("web-1.old_2", True), ("x" * 64, True), ("x" * 65, False)]
    + [(name, False) for name in ("", ".", "..", ".lock", "-a", "A", "a/b", "a b", "ä", "a\n")],
)
def test_valid_and_invalid_names_of_machines(name: str, is_one: bool) -> None:
    assert is_name(name) is is_one
    if not is_one:
        with pytest.raises(UsageError, match="cannot be the name of a machine: a name has"):
            MicroVM.attach(name)


def test_random_names_are_valid_and_differ() -> None:
    names = [name for name, _ in zip(random_names(), range(50), strict=False)]
    assert all(map(is_name, names))
    assert len(set(names)) > 20


def test_a_machine_is_found_by_its_name_or_its_unique_beginning(runtime: RuntimeDirectory) -> None:
    with runtime.create("web"), runtime.create("web-old"), runtime.create("db"):
        for given, name in {"web": "web", "web-": "web-old", "d": "db"}.items():
            with runtime.open(given, beginning=True) as directory:
                assert directory.name == name
        with pytest.raises(MicroVMError, match="more than one machine begins with w: web, web-old"):
            runtime.open("w", beginning=True)
        for given in ("", "x", "../web", "."):
            with pytest.raises(MicroVMError, match="there is no machine"):
                runtime.open(given, beginning=True)
        with pytest.raises(MicroVMError, match="there is no machine web-") as caught:
            runtime.open("web-")
        assert caught.value.hint == "did you mean web-old?"


def test_a_name_is_taken_while_its_machine_is_alive(runtime: RuntimeDirectory) -> None:
    with runtime.create("one") as first:
        with pytest.raises(MicroVMError, match="there is a machine one already"):
            runtime.create("one")
        assert first.is_alive()
    with runtime.create("one") as second:
        assert second.is_alive()
        with runtime.open("one") as seen:
            assert seen.is_alive()
            assert not runtime.sweep(seen)
        assert runtime.names() == ["one"]


def test_a_dead_machine_is_removed_with_its_files(runtime: RuntimeDirectory, folder: Path) -> None:
    leave(runtime, "one")
    (folder / "one" / "socket").touch()
    (folder / "one" / "link").symlink_to("/etc/passwd")
    (folder / "one" / "folder").mkdir()
    (folder / "one" / "folder" / "link").symlink_to("/etc")
    with runtime.open("one") as directory:
        assert not directory.is_alive()
        assert directory.ended()["reason"] == "its supervisor was killed"
        directory.write("ended.json", {"reason": "it was tired", "asked": False, "at": time.time()})
        assert isinstance(directory.error(), GuestDied)
        assert directory.error().message == "machine one is gone: it was tired"
        assert runtime.sweep(directory)
        assert not runtime.sweep(directory)
    assert runtime.names() == []
    assert Path("/etc/passwd").exists()


def test_removed_files_do_not_free_a_machine_name(runtime: RuntimeDirectory, folder: Path) -> None:
    with runtime.create("one") as first:
        os.close(first.file("log", os.O_WRONLY | os.O_CREAT))
        for each in (folder / "one").iterdir():
            each.unlink()
        assert runtime.names() == ["one"]
        with pytest.raises(MicroVMError, match="there is a machine one already"):
            runtime.create("one")


def test_a_dead_machine_is_removed_after_an_hour(runtime: RuntimeDirectory) -> None:
    leave(runtime, "one")
    with runtime.open("one") as directory:
        said = directory.ended()
        assert directory.ended() == said  # as the first observer wrote it
        runtime.create("two").close()
        assert "one" in runtime.names()
        directory.write("ended.json", {**said, "at": said["at"] - 3601})
        with runtime.create("three"):
            assert runtime.names() == ["three"]


def test_other_folders_are_left_alone(runtime: RuntimeDirectory, folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("/etc")
    (folder / "folder" / "more").mkdir(parents=True)
    (folder / "empty").mkdir()
    with runtime.create("one"):
        assert runtime.names() == ["one"]
        assert [directory.name for directory in closed(runtime)] == ["one"]
    for name in ("file", "link", "folder"):
        with pytest.raises(MicroVMError, match=f"there is no machine {name}"):
            runtime.open(name)
        with pytest.raises(MicroVMError, match=f"folder of {name}, .*/{name}, cannot be used"):
            runtime.create(name)
    runtime.create("empty").close()
    assert {each.name for each in folder.iterdir()} == {"file", "link", "folder", "empty", "one"}


def closed(runtime: RuntimeDirectory) -> list[MachineDirectory]:
    """Return the folders of the machines, and close them."""
    found = list(runtime.directories())
    for each in found:
        each.close()
    return found


def test_the_hint_names_another_runtime_directory(
    tmp_path: Path, runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    other = tmp_path / f"microvm-{os.geteuid()}"
    (other / "one").mkdir(parents=True)
    with pytest.raises(MicroVMError, match="there is no machine one") as caught:
        runtime.open("one")
    assert caught.value.hint.startswith(
        f"there is one in {other}, but XDG_RUNTIME_DIR and TMPDIR make microvm look in "
        f"{runtime.path}"
    )


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "disk", "4k,nr_inodes=3") as disk:
        disk.chmod(0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(disk))
        said = f"{disk}/microvm, cannot be used: No space left on device"
        with pytest.raises(MicroVMError, match=said) as caught:
            Start("one")
        assert caught.value.hint.startswith("free space there")
        assert list((disk / "microvm").iterdir()) == []


def test_times_of_unused_files_are_refreshed(runtime: RuntimeDirectory, folder: Path) -> None:
    with runtime.create("one") as directory:
        directory.write("machine.json", {})
        paths = [folder, folder / "one", folder / "one" / "machine.json"]
        for each in paths:
            os.utime(each, (0, 0))
        runtime.refresh()
        directory.refresh()
        assert all(path.stat().st_mtime > 1 for path in paths)
        assert all(path.stat().st_atime > 1 for path in paths)


def test_only_one_of_two_machines_gets_a_name(runtime: RuntimeDirectory, folder: Path) -> None:
    del runtime
    both = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder.parent)},
        )
        for _ in range(2)
    ]
    said = [each.stdout.readline() for each in both if each.stdout]
    for each in both:
        each.communicate()
    assert sorted(said) == ["created\n", "there is a machine one already\n"]


def test_runtime_lock_times_out(runtime: RuntimeDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microvm.supervisor.runtime_directory._LOCK_TIMEOUT", 0.0)
    with runtime.locked(), pytest.raises(MicroVMError, match="another process holds its lock"):
        runtime.create("one")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b"\xff", b"{} {}"])
def test_invalid_json_reads_empty(runtime: RuntimeDirectory, folder: Path, content: bytes) -> None:
    with runtime.create("one") as directory:
        (folder / "one" / "machine.json").write_bytes(content)
        assert directory.read("machine.json") == {}
        assert directory.read("nothing") == {}
