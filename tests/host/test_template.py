"""Tests of templates on the disk: which are kept, refused, or removed first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from tests.host.test_origin import MADE

from microvm import CacheError, TemplateError
from microvm.cache import async_lock, lock, verified
from microvm.start import saved, sparse, template

PAGE = 4096
RAM = bytes(3 * PAGE) + b"a" * PAGE + bytes(505 * PAGE) + b"b" * (2 * PAGE) + bytes(PAGE)
STATE = Random(1).randbytes(10_000)
ORIGIN = MADE._replace(image="i", folder="/i", memory=2)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the templates in a cache of this test."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    return tmp_path / "templates"


def save(name: str, used: float = 0, *, copied: bool = False, disk: int = 0) -> Path:
    with saved.blank(disk) as memory:
        os.write(memory.ram, RAM)
        os.write(memory.state, STATE)
        template.save(memory, name=name, origin=ORIGIN._replace(scratch=disk), copied=copied)
    path = Path(os.environ["MICROVM_CACHE"]) / "templates" / name
    if used:
        os.utime(path, (used, used))
    return path


def read(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def test_each_clone_has_its_own_scratch_disk() -> None:
    path = save("a", disk=64 << 20)
    saved = (path / "scratch").read_bytes()
    assert len(saved) == 64 << 20
    assert (path / "scratch").stat().st_blocks * 512 < 4 << 20
    for _ in range(2):
        with template.STORE.opened("a") as memory:
            assert memory is not None
            assert memory.scratch is not None
            assert read(memory.scratch) == saved
            assert os.fstat(memory.scratch).st_blocks * 512 < 4 << 20
            os.pwrite(memory.scratch, b"changed", 0)
    assert (path / "scratch").read_bytes() == saved


def test_pages_of_zeros_take_no_disk_space() -> None:
    status = (save("a") / "ram").stat()
    assert status.st_size == len(RAM)
    assert status.st_blocks * 512 <= 8 * PAGE


def test_template_is_readable_by_its_owner_only() -> None:
    path = save("a")
    assert {(path / part).stat().st_mode & 0o777 for part in ("ram", "state")} == {0o400}
    assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".hidden", "a/b"])
def test_template_name_must_not_be_a_path(name: str) -> None:
    with pytest.raises(TemplateError, match="not the name"), template.STORE.opened(name):
        pass


def _edit(path: Path, **fields: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | fields))


def _write(path: Path) -> None:
    """Change a byte, and hide the change as well as a user can."""
    before = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"x")
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _resize(path: Path, size: int) -> None:
    path.chmod(0o600)
    os.truncate(path, size)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.replace(path.parent / "aside")
    path.symlink_to("aside")


def _become_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


def _at(part: str, do: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda path: do(path / part)


PARTS = ("ram", "state", "manifest.json")
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "memory changed": (lambda path: _write(path / "ram"), "its memory"),
    "memory cut short": (lambda path: _resize(path / "ram", len(RAM) - 1), "its memory"),
    "memory grown": (lambda path: _resize(path / "ram", len(RAM) + 1), "its memory"),
    "memory missing": (lambda path: (path / "ram").unlink(), "incomplete"),
    "state missing": (lambda path: (path / "state").unlink(), "incomplete"),
    "state empty": (lambda path: _resize(path / "state", 0), "its state"),
    "manifest missing": (lambda path: (path / "manifest.json").unlink(), "incomplete"),
    "manifest empty": (lambda path: os.truncate(path / "manifest.json", 0), "its manifest"),
    "manifest nested": (
        lambda path: (path / "manifest.json").write_text("[" * 60000),
        "its manifest",
    ),
    "manifest no object": (lambda path: (path / "manifest.json").write_text("[]"), "its manifest"),
    "manifest short of a field": (
        lambda path: (path / "manifest.json").write_text(f'{{"format": {saved.FORMAT}}}'),
        "its manifest",
    ),
    "another version": (lambda path: _edit(path, format=0), "another version"),
    "another name": (lambda path: _edit(path, name="b"), "its name is b"),
    "a file": (_become_a_file, "cannot read"),
    **{f"{part} a FIFO": (_at(part, _fifo), "cannot read.*: not a plain file") for part in PARTS},
    **{f"{part} a link": (_at(part, _link), "cannot read") for part in PARTS},
    **{
        f"{part} open to others": (_at(part, lambda path: path.chmod(0o666)), "written by others")
        for part in PARTS
    },
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(damage: str) -> None:
    path = save("a")
    do, says = DAMAGES[damage]
    do(path)
    with pytest.raises(TemplateError, match=says), template.STORE.opened("a"):
        pass
    flaw = "damaged"
    if says == "another version":
        flaw = "outdated"
    elif says.startswith(("cannot read", "written")):
        flaw = "unreadable"
    there = not path.is_file()
    assert [each.flaw for each in template.STORE.installed(deep=True)] == [flaw] * there
    assert [each.manifest for each in template.STORE.installed(deep=True)] == [None] * there
    if damage != "memory changed":  # this start computes a digest
        assert [each.flaw for each in template.STORE.installed()] == [flaw] * there
    template.STORE.remove("a")
    assert not path.exists()


@pytest.fixture
def digests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list of the computed digests of memory.

    The digests that the process remembers are forgotten.
    """
    computed: list[str] = []
    digest = sparse.digest

    def counted(file: int) -> str:
        monkeypatch.setattr(verified, "_memory", {})
        computed.append(digest(file))
        return computed[-1]

    monkeypatch.setattr(sparse, "digest", counted)
    return computed


def _opened() -> bool:
    with template.STORE.opened("a") as memory:
        return memory is not None and read(memory.ram) == RAM


def _copy(source: Path, target: Path) -> None:
    """Copy a folder with its times, but without holes, as an archive does."""
    shutil.copytree(source, target, copy_function=shutil.copy2)


def test_a_copy_is_hashed_once(
    folder: Path, tmp_path: Path, digests: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a")
    assert len(digests) == 1
    assert _opened()
    assert len(digests) == 1
    other = tmp_path / "other"
    _copy(folder, other / "templates")
    monkeypatch.setenv("MICROVM_CACHE", str(other))
    for _ in range(2):
        assert _opened()
        assert len(digests) == 2
    assert digests[0] == digests[1]


async def test_silent_holder_is_not_awaited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_lock, "HOLDER_TIMEOUT", 0.2)
    with lock.attempt(folder / "a") as ours:
        assert ours
        with pytest.raises(CacheError, match=f"process {os.getpid()} saves a guest.*no heartbeat"):
            async with template.locked("a", lambda _: None):
                pass
        with pytest.raises(TemplateError, match="no template"):
            template.STORE.remove("a")
    async with template.locked("a", lambda _: None):
        pass


def test_prune_removes_the_least_recently_used_first() -> None:
    for age, name in enumerate(["new", "middle", "old", "damaged"]):
        save(name, used=1e9 - age)
    _edit(save("damaged"), format=0)
    names = [each.name for each in template.STORE.installed()]
    assert names == ["damaged", "new", "middle", "old"]
    size = template.STORE.installed()[1].size
    removed = template.prune(2 * size + size // 2)
    assert {each.name for each in removed} == {"old", "damaged"}
    assert [each.name for each in template.prune(0, keep="middle")] == ["new"]
    assert [each.name for each in template.STORE.installed()] == ["middle"]
