"""Templates on the disk: what is kept, what is refused, what goes first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from microvm import TemplateError, UsageError, template
from microvm.cli import cli

PAGE = 4096
RAM = bytes(3 * PAGE) + b"a" * PAGE + bytes(300 * PAGE) + b"b" * (2 * PAGE) + bytes(PAGE)
STATE = Random(1).randbytes(10_000)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the templates, in a cache of this test's own."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    return tmp_path / "templates"


def save(name: str, used: float = 0, *, copied: bool = False) -> Path:
    with template.blank() as memory:
        os.write(memory.ram, RAM)
        os.write(memory.state, STATE)
        template.save(
            memory,
            name=name,
            image="i",
            qemu=Path("q"),
            accel="tcg",
            megabytes=96,
            cpus=1,
            copied=copied,
        )
    path = Path(os.environ["MICROVM_CACHE"]) / "templates" / name
    if used:
        os.utime(path, (used, used))
    return path


def read(descriptor: int) -> bytes:
    """All that is in a file, from its start."""
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def test_what_was_saved_is_what_is_opened() -> None:
    save("a")
    with template.opened("a") as memory:
        assert memory is not None
        assert memory.saved
        assert (read(memory.ram), read(memory.state)) == (RAM, STATE)
        assert os.lseek(memory.state, 0, os.SEEK_CUR) == 0


def test_a_qemu_that_cannot_share_the_memory_gets_a_copy() -> None:
    path = save("a", copied=True)
    with template.opened("a") as memory:
        assert memory is not None
        assert memory.copied
        assert read(memory.ram) == RAM
        assert os.fstat(memory.ram).st_blocks == (path / "ram").stat().st_blocks
        os.pwrite(memory.ram, b"changed", 0)
    assert (path / "ram").read_bytes() == RAM


def test_pages_of_zeros_take_no_disk() -> None:
    status = (save("a") / "ram").stat()
    assert status.st_size == len(RAM)
    assert status.st_blocks * 512 <= 8 * PAGE


def test_what_is_saved_can_be_read_by_all_and_written_by_nobody() -> None:
    path = save("a")
    assert {(path / part).stat().st_mode & 0o777 for part in ("ram", "state")} == {0o444}


def test_there_may_be_none() -> None:
    with template.opened("a") as memory:
        assert memory is None


@pytest.mark.parametrize("name", ["", ".", "..", "../x", ".hidden", "a/b"])
def test_a_name_is_no_path(name: str) -> None:
    with pytest.raises(TemplateError, match="not the name"), template.opened(name):
        pass


def _edit(path: Path, **fields: object) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | fields))


def _write(path: Path) -> None:
    """Change a byte, and hide it as well as a user can."""
    before = path.stat()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.write(b"x")
    path.chmod(0o444)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    shutil.copy2(path, path.parent / "copy")
    (path.parent / "copy").replace(path)


def _become_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "memory changed": (lambda path: _write(path / "ram"), "its memory"),
    "memory cut short": (lambda path: os.truncate(path / "ram", len(RAM) - 1), "its memory"),
    "memory replaced": (lambda path: _replace(path / "ram"), "its memory"),
    "memory missing": (lambda path: (path / "ram").unlink(), "incomplete"),
    "state missing": (lambda path: (path / "state").unlink(), "incomplete"),
    "state empty": (lambda path: os.truncate(path / "state", 0), "its state"),
    "manifest missing": (lambda path: (path / "manifest.json").unlink(), "incomplete"),
    "manifest empty": (lambda path: os.truncate(path / "manifest.json", 0), "its manifest"),
    "manifest no object": (lambda path: (path / "manifest.json").write_text("[]"), "its manifest"),
    "manifest short of a field": (
        lambda path: (path / "manifest.json").write_text('{"ram": []}'),
        "its manifest",
    ),
    "another version": (lambda path: _edit(path, format=0), "another version"),
    "another name": (lambda path: _edit(path, name="b"), "another version"),
    "a file": (_become_a_file, "cannot read"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(damage: str) -> None:
    path = save("a")
    do, says = DAMAGES[damage]
    do(path)
    with pytest.raises(TemplateError, match=says), template.opened("a"):
        pass
    if says in ("its manifest", "another version"):
        assert [each.manifest for each in template.installed()] == [None]
    elif path.is_file():
        assert template.installed() == []


def test_the_least_recently_used_go_first() -> None:
    for age, name in enumerate(["new", "middle", "old", "damaged"]):
        save(name, used=1e9 - age)
    _edit(save("damaged"), format=0)
    names = [each.name for each in template.installed()]
    assert names == ["damaged", "new", "middle", "old"]
    size = template.installed()[1].size
    removed = template.prune(2 * size + size // 2)
    assert {each.name for each in removed} == {"old", "damaged"}
    assert [each.name for each in template.prune(0, keep="middle")] == ["new"]
    assert [each.name for each in template.installed()] == ["middle"]


def test_using_one_makes_it_the_last_to_go() -> None:
    for name in ("a", "b"):
        save(name, used=1e9 + (name == "b"))
    with template.opened("a"):
        pass
    assert [each.name for each in template.installed()] == ["a", "b"]


def test_saving_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    save("a", used=1e9)
    monkeypatch.setenv("MICROVM_TEMPLATES", "1K")
    save("b")
    assert [each.name for each in template.installed()] == ["b"]


def test_pruning_clears_what_killed_processes_have_left(folder: Path) -> None:
    save("a")
    (folder / ".b.tmp").mkdir()
    (folder / ".b.lock").touch()
    (folder / ".a.lock").touch()
    template.prune(template.limit())
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_the_command_lists_and_removes() -> None:
    def run(*arguments: str) -> str:
        return CliRunner().invoke(cli, ["template", *arguments], catch_exceptions=False).output

    save("a", used=1e9)
    _edit(save("b"), format=0)
    heading, damaged, fine = run("ls").splitlines()
    assert heading.split() == ["NAME", "ACCEL", "MEMORY", "CPUS", "SIZE", "USED"]
    assert damaged.split()[:4] == ["b", "damaged", "damaged", "damaged"]
    assert fine.split()[:4] == ["a", "tcg", "96M", "1"]
    assert [each["name"] for each in json.loads(run("ls", "--json"))] == ["b", "a"]
    assert run("prune") == "b\n"
    assert run("prune", "--all") == "a\n"
    save("c")
    assert run("rm", "c") == ""
    with pytest.raises(TemplateError, match="no template c"):
        run("rm", "c")


def test_an_empty_limit_is_none_and_a_wrong_one_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MICROVM_TEMPLATES", "")
    assert template.limit() == 4 << 30
    monkeypatch.setenv("MICROVM_TEMPLATES", "xx")
    with pytest.raises(UsageError, match="MICROVM_TEMPLATES: 'xx' is not a size"):
        template.limit()
