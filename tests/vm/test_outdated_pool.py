"""Tests of named pools whose image or snapshot changes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.named_pools import facts, full
from tests.vm.conftest import Command

from microvm.images import Image

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("_runtime")]


def test_a_pool_starts_from_a_snapshot(microvm: Command) -> None:
    try:
        microvm("run", "--save", "base", "--", "sh", "-c", "echo saved >/srv/x")
        microvm("pool", "start", "--linger", "--size", "1", "--from", "base", "saved")
        read = ["cat", "/srv/x"]
        assert microvm("run", "--pool", "saved", "--from", "base", "--", *read).stdout == b"saved\n"
        assert full(microvm, "saved")["served"] == 1
        microvm("run", "--save", "base", "--", "sh", "-c", "echo other >/srv/x")
        why = "snapshot base was removed or replaced"
        for options, reason in [
            ((), ""),
            (("-v", "--from", "base"), "its machines do not start from snapshot base as it is now"),
            (("-v",), f"pool saved must be started again: {why}"),
        ]:
            done = microvm("run", "--pool", "saved", *options, "--", *read)
            assert done.stdout == b"other\n"
            assert reason in done.stderr.decode()
        microvm("snapshot", "rm", "base")
        assert microvm("run", "--pool", "saved", "--", "echo", "hello").stdout == b"hello\n"
        after = facts(microvm, "saved")
        assert (after["error"], after["served"]) == (why, 1)
    finally:
        microvm("pool", "stop", "saved")
        microvm("snapshot", "rm", "base")


def test_the_image_of_a_pool_is_kept(
    microvm: Command, tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = [tmp_path / "cache", tmp_path / "link"]
    shutil.copytree(image.path, caches[0] / "images" / image.name)
    subprocess.run(["chmod", "-R", "go=", caches[0]], check=True)
    caches[1].symlink_to(caches[0])
    monkeypatch.setenv("MICROVM_CACHE", str(caches[0]))
    microvm("pool", "start", "--linger", "--size", "1", "--image", image.name, "kept")
    try:
        for cache in caches:
            monkeypatch.setenv("MICROVM_CACHE", str(cache))
            assert "needed by pool kept" in microvm("image", "rm", image.name).stderr.decode()
            assert image.name not in microvm("image", "prune").stdout.decode()
    finally:
        microvm("pool", "stop", "kept")


def test_a_pool_whose_image_has_changed_is_not_used(
    microvm: Command, tmp_path: Path, image: Image
) -> None:
    folder = tmp_path / "image"
    shutil.copytree(image.path, folder)
    microvm("pool", "start", "--linger", "--size", "1", "--image", str(folder), "elsewhere")
    try:
        full(microvm, "elsewhere")
        shutil.rmtree(folder)
        assert microvm("run", "--pool", "elsewhere", "--", "echo", "hello").stdout == b"hello\n"
        after = facts(microvm, "elsewhere")
        assert after["served"] == 0
        assert after["error"].startswith("no image")
        done = microvm("map", "--pool", "elsewhere", "-", input=b"echo hello\n")
        assert json.loads(done.stdout)["stdout"] == "hello\n"
        microvm("image", "build", "--entrypoint", "echo from", "-o", str(folder))
        done = microvm("run", "--pool", "elsewhere", "-v", "--", "here")
        assert done.stdout == b"from here\n"
        assert b"was replaced" in done.stderr
    finally:
        microvm("pool", "stop", "elsewhere")
