"""Tests of snapshots on the disk: the reasons why some cannot be used, and their removal."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.host.test_origin import MADE

from microvm import ImageError, SnapshotError
from microvm.cli.root import cli
from microvm.start import saved, snapshots

GONE = MADE._replace(folder="", memory=1)  # an image in the cache, which is empty


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the snapshots in a cache of this test."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    return tmp_path / "snapshots"


def _save(name: str) -> None:
    with saved.blank() as memory:
        os.write(memory.ram, bytes(1 << 20))
        os.write(memory.state, b"state")
        snapshots.save(memory, name=name, origin=GONE, copied=False)


def _edit(path: Path, old: str, new: str) -> None:
    path.chmod(0o644)
    path.write_text(path.read_text().replace(old, new))


def _run(*arguments: str, of: str = "snapshot") -> Result:
    return CliRunner().invoke(cli, [of, *arguments], catch_exceptions=False)


@pytest.fixture
def flawed(folder: Path) -> dict[str, str]:
    """The names of snapshots with different faults. One lacks only its image."""
    damages = {"whole": "", "short": "damaged", "changed": "damaged", "old": "outdated"}
    for name in damages:
        _save(name)
    (folder / "short" / "ram").unlink()
    _edit(folder / "changed" / "state", "state", "other")
    _edit(folder / "old" / "manifest.json", f'"format": {saved.FORMAT}', '"format": 1')
    return damages


def test_ls_names_the_flaw_of_a_snapshot(flawed: dict[str, str]) -> None:
    rows = [row.split() for row in _run("ls").output.splitlines()[1:]]
    said = {name: first if first in ("damaged", "outdated") else "" for name, first, *_ in rows}
    assert said == flawed
    listed = json.loads(_run("ls", "--json").output)
    assert {each["name"]: each["flaw"] or "" for each in listed} == flawed


def test_inspect_explains_an_unusable_snapshot(folder: Path, flawed: dict[str, str]) -> None:
    del flawed
    next_step = "(take the snapshot again; `microvm snapshot prune` removes this one)"
    shown = json.loads(_run("inspect", "--json", "short", "changed", "whole").output)
    assert [each["usable"] for each in shown] == [False] * 3
    assert [each["obstacle"] for each in shown] == [
        f"{folder}/short: damaged snapshot: incomplete {next_step}",
        f"{folder}/changed: damaged snapshot: its state has changed since it was saved {next_step}",
        "snapshot whole cannot be used without its image: no image alpine-1 "
        "(build alpine-1 again, or take the snapshot again)",
    ]
    with pytest.raises(SnapshotError, match="of another version") as refused:
        _run("inspect", "old")
    assert f"({refused.value.hint})" == next_step


def test_prune_keeps_whole_snapshots_with_reasons_if_unusable(flawed: dict[str, str]) -> None:
    del flawed
    pruned = _run("prune")
    assert sorted(pruned.stdout.split()) == ["changed", "old", "short"]
    assert pruned.stderr.startswith("microvm: kept: snapshot whole cannot be used without its im")
    assert pruned.stderr.endswith("; --unusable removes it, too\n")
    assert [each.name for each in snapshots.STORE.installed()] == ["whole"]
    assert _run("prune", "--unusable").output == "whole\n"
    assert snapshots.STORE.installed() == []


def test_image_of_a_snapshot_is_removed_by_force_only(folder: Path, flawed: dict[str, str]) -> None:
    del flawed
    (folder.parent / "images" / "alpine-1").mkdir(parents=True)
    with pytest.raises(ImageError, match="image alpine-1 is needed by snapshot whole"):
        _run("rm", "alpine-1", of="image")
    assert _run("rm", "--force", "alpine-1", of="image").output == "Deleted: alpine-1\n"
