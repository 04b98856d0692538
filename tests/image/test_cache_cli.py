"""Tests of `microvm cache` as a user calls it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from microvm import arches
from microvm.cache import lock
from microvm.cli.properties import time_text
from microvm.cli.verbs.cache import cache as cache_group
from microvm.images import Image
from microvm.qemu import launcher
from microvm_image.build import build
from microvm_image.kernel import cached, recipe


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cache_group, list(arguments), catch_exceptions=False)


@pytest.fixture
def image(archive: Path, kernel: Path) -> Image:
    return build(rootfs=archive, kernel=kernel)


def _facts() -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in json.loads(run("ls", "--json").stdout)}


def test_path_prints_the_cache(cache: Path) -> None:
    assert run("path").stdout == f"{cache}\n"
    assert not cache.exists()


def test_ls_has_all_that_is_in_the_cache(image: Image, cache: Path) -> None:
    (cache / "scratch").mkdir()
    for number, name in enumerate(("snapshots/a/ram", "templates/b/ram", "kernels/linux-1")):
        path = cache / name
        path.parent.mkdir(parents=True)
        path.write_bytes(os.urandom(100_000 + number))
    (cache / "images/.left.tmp").mkdir()
    (cache / "accel-0123456789abcdef").write_text("works 86400\n")
    (cache / "stranger").touch()
    facts = _facts()
    counts = {kind: each["items"] for kind, each in facts.items()}
    assert counts == {
        "images": 1,
        "snapshots": 1,
        "templates": 1,
        "kernels": 1,
        "downloads": 1,
        "layers": 0,
        "programs": 1,
        "records": 1,
        "unfinished": 1,
        "other": 1,
    }
    assert facts["snapshots"]["size"] >= 100_000
    assert facts["images"]["size"] >= image.kernel.stat().st_blocks * 512
    lines = run("ls").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [kind for kind in counts if counts[kind]]


def test_ls_counts_shared_files_once(cache: Path) -> None:
    for name in ("a", "b"):
        (cache / "images" / name).mkdir(parents=True)
    (cache / "images/a/kernel").write_bytes(os.urandom(1_000_000))
    os.link(cache / "images/a/kernel", cache / "images/b/kernel")
    assert 1_000_000 <= _facts()["images"]["size"] < 1_500_000


def test_ls_shows_the_last_use_of_a_kind(image: Image, cache: Path) -> None:
    now = time.time()
    used = {"a": now - 5000, "b": now - 1000}
    for name, at in used.items():
        (cache / "templates" / name).mkdir(parents=True)
        os.utime(cache / "templates" / name, (at, at))
    for path in (*image.path.iterdir(), image.path):
        if path.name != "verified.json":
            os.utime(path, (now - 9000, now - 9000))
    facts = _facts()
    assert facts["templates"]["used"] == time_text(used["b"])
    # a clone also uses the image of its template
    assert facts["images"]["used"] == facts["templates"]["used"]
    assert facts["snapshots"]["used"] is None


def test_prune_removes_untagged_images(image: Image, cache: Path) -> None:
    package = cache / "downloads/linux-image-01234567_6.1_amd64"
    package.mkdir(parents=True)
    (package / "vmlinuz").write_bytes(os.urandom(3_000_000))
    (cache / "layers/0123").mkdir(parents=True)
    (cache / "kernels/.build.tmp/build").mkdir(parents=True)
    old = cache / "accel-0123456789abcdef"
    old.write_text("works 86400\n")
    os.utime(old, (1e9, 1e9))
    done = run("prune")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert f"Deleted: {image.name}" in lines
    assert f"Deleted: download {package.name}" in lines
    assert f"Deleted: record {old.name}" in lines
    freed = float(lines[-1].removeprefix("Freed: ").removesuffix(" MB"))
    assert 3.0 <= freed < 4.0
    left = {kind for kind, each in _facts().items() if each["items"]}
    # the download that stays is the archive of the default image
    assert left == {"downloads", "programs"}
    assert run("prune").stdout == "Freed: 0.0 MB\n"
    assert "Deleted: download alpine-" in run("prune", "--all").stdout


def test_prune_keeps_the_newest_kernel(cache: Path) -> None:
    arch = arches.find()
    names = [f"linux-6.{n}-{arch.name}-{recipe.digest(arch)}-0123456{n}" for n in range(3)]
    for at, name in enumerate((*names, "linux-6.1-riscv-0-0"), start=1):
        path = cache / "kernels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (at, at))
    done = run("prune")
    assert sorted(done.stdout.splitlines()[:-1]) == [f"Deleted: kernel {n}" for n in names[:2]]
    assert cached.newest(arch) == cache / "kernels" / names[2]
    assert (cache / "kernels/linux-6.1-riscv-0-0").exists()


@pytest.fixture
def programs(image: Image, cache: Path) -> tuple[set[Path], set[Path]]:
    """Give the programs in the cache that this version uses, and those that it does not use."""
    folder = cache / "programs"
    current = {*folder.iterdir()}
    for machine in ("x86_64", "aarch64"):
        current.add(folder / f"launcher-{machine}-{launcher._digest(launcher.sources())[:32]}")
    old = {folder / name for name in ("confine-x86_64-01", "launcher-x86_64-0123", "0" * 32)}
    for path in current | old:
        if not path.exists():
            path.write_bytes(b"x")
    (folder / "0123").touch()
    return {*current, folder / "0123"}, old


def test_prune_removes_programs_of_other_versions(
    programs: tuple[set[Path], set[Path]], cache: Path
) -> None:
    current, old = programs
    lines = run("prune").stdout.splitlines()
    assert {line for line in lines if "program" in line} == {
        f"Deleted: program {path.name}" for path in old
    }
    assert {*(cache / "programs").iterdir()} == current


def test_prune_keeps_a_program_that_is_being_compiled(
    programs: tuple[set[Path], set[Path]], cache: Path
) -> None:
    current, old = programs
    path = min(old)
    with lock.attempt(path) as ours:
        assert ours
        assert path.name not in run("prune").stdout
        assert path.exists()
    run("prune")
    assert {*(cache / "programs").iterdir()} == current


def test_prune_keeps_a_kernel_that_is_being_compiled(cache: Path) -> None:
    work = cache / "kernels/.build.tmp"
    work.mkdir(parents=True)
    with lock.attempt(cache / "kernels/build") as ours:
        assert ours
        run("prune")
        assert work.is_dir()
    run("prune")
    assert not work.exists()
