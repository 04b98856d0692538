"""Tests of the commands for snapshots, and of the example on their page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.parameters import accelerator
from tests.support.small_disk import small_disk
from tests.vm.conftest import Command

from microvm.images import Image
from microvm.start import snapshots

pytestmark = pytest.mark.usefixtures("copied_cache")  # since a test prunes snapshots

NAME = "of-a-test"
MACHINE = ["--memory", "96M", "--accel", accelerator()]


@pytest.fixture
def kept(microvm: Command) -> Iterator[str]:
    """The name of a snapshot that contains a file. The snapshot is removed afterwards."""
    made = microvm("run", *MACHINE, "--save", NAME, "--", "sh", "-c", "echo kept >/root/file")
    assert (made.returncode, made.stdout, made.stderr) == (0, b"", b"")
    yield NAME
    if snapshots.STORE.path(NAME).exists():
        snapshots.STORE.remove(NAME)


@pytest.mark.thorough
def test_machine_is_saved_and_started_from(microvm: Command, kept: str) -> None:
    read = microvm("run", "--from", kept, "--", "cat", "/root/file")
    assert (read.returncode, read.stdout, read.stderr) == (0, b"kept\n", b"")
    jobs = b"cat /root/file\n" * 2
    mapped = microvm("map", "--from", kept, "-", input=jobs)
    assert [json.loads(line)["stdout"] for line in mapped.stdout.splitlines()] == ["kept\n"] * 2
    # Saving under the same name replaces the snapshot.
    again = ["--save", kept, "--", "sh", "-c", "echo more >>/root/file"]
    assert microvm("run", "--from", kept, *again).returncode == 0
    assert microvm("run", "--from", kept, "--", "cat", "/root/file").stdout == b"kept\nmore\n"


def test_snapshots_are_listed_shown_and_removed(microvm: Command, kept: str) -> None:
    heading, *rows = microvm("snapshot", "ls").stdout.decode().splitlines()
    assert heading.split() == ["NAME", "IMAGE", "ACCEL", "MEMORY", "CPUS", "SIZE", "USED"]
    (row,) = [row.split() for row in rows if row.startswith(f"{kept} ")]
    assert row[2:5] == [accelerator(), "96M", "1"]
    listed = json.loads(microvm("snapshot", "ls", "--json").stdout)
    assert kept in [each["name"] for each in listed]
    (shown,) = json.loads(microvm("snapshot", "inspect", "--json", kept).stdout)
    assert (shown["memory"], shown["usable"], shown["obstacle"]) == (96 << 20, True, "")
    assert b"memory: 100663296\n" in microvm("snapshot", "inspect", kept).stdout
    assert kept.encode() not in microvm("snapshot", "prune").stdout.split()
    assert microvm("snapshot", "rm", kept).returncode == 0
    gone = microvm("run", "--from", kept, "--", "true")
    assert (gone.returncode, gone.stderr) == (
        125,
        f"microvm: no snapshot {kept} (`microvm snapshot ls` lists them)\n".encode(),
    )
    assert microvm("snapshot", "inspect", kept).returncode == 125
    assert microvm("snapshot", "rm", kept).returncode == 125


def test_machine_of_a_failed_command_is_not_saved(microvm: Command) -> None:
    failed = microvm("run", *MACHINE, "--save", NAME, "--", "sh", "-c", "exit 7")
    assert (failed.returncode, failed.stderr) == (
        7,
        f"microvm: no snapshot {NAME} was saved: the status is 7\n".encode(),
    )
    assert not snapshots.STORE.path(NAME).exists()


def test_free_space_is_checked_before_the_command_runs(
    image: Image, microvm: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["run", "--image", str(image.path), "--cold", "--save", NAME, "--", "echo", "ran"]
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "small"))
    with small_disk(tmp_path / "small", "6m"):
        full = microvm(*run)
    assert (full.returncode, full.stdout) == (125, b"")
    assert b"disk full" in full.stderr
    (tmp_path / "snapshots").touch()
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    unwritable = microvm(*run)
    assert (unwritable.returncode, unwritable.stdout) == (125, b"")
    assert f"cannot use {tmp_path / 'snapshots'}".encode() in unwritable.stderr
