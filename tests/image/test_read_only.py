"""Tests that a cache that cannot be written serves its content."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.ordinary import as_user, read_only

from microvm import arches
from microvm import cache as caches
from microvm.images import tags
from microvm.qemu import launcher
from microvm_image.build import build

WORKER = """
import sys
from pathlib import Path
from microvm.cli.root import main
from microvm import arches
from microvm_image import default, programs

guest, pin = Path(sys.argv.pop(1)), sys.argv.pop(1)
host = arches.find()
arches.ARCHES[host.name] = host._replace(alpine_sha256=pin)
programs.sources = lambda: guest
if sys.argv[1:] == ["default"]:
    print(default().path)
else:
    main()
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(guest: Path, parts: None) -> Run:
    """Return a function that runs `microvm` as an ordinary user, with the small parts."""

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(sys.path)
        return subprocess.run(
            as_user(sys.executable, "-c", WORKER, guest, arches.find().alpine_sha256, *arguments),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": path, **env},
        )

    return run


@pytest.mark.thorough
def test_read_only_cache_serves_its_content(
    run: Run, cache: Path, kernel: Path, tmp_path: Path
) -> None:
    image = build()
    launcher.find()
    tags.assign("python", image.name)
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o777)
    name = "linux-6.1-x86_64-0"
    caches.make(cache / "kernels")
    (cache / "kernels" / name).write_bytes(kernel.read_bytes())
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    with read_only(cache):
        # without a compiler the image is found, and with a compiler it is built
        assert run("default", PATH="/nonexistent").stdout == f"{image.path}\n"
        built = run("image", "build")
        assert (built.stdout, built.stderr) == (f"{image.path}\n", "")
        assert "python:latest" in run("image", "ls").stdout
        assert name in run("kernel", "ls").stdout
        assert run("template", "ls").returncode == 0
        assert f"name: {image.name}" in run("image", "inspect", "python").stdout
        exported = run("image", "export", "python", "-o", str(tmp_path / "out" / "image"))
        assert exported.returncode == 0, exported.stderr
        for arguments in (["tag", "python", "other"], ["rm", "python"], ["prune", "--all"]):
            refused = run("image", *arguments)
            if arguments[0] == "prune":  # it has a tag
                assert (refused.returncode, refused.stderr) == (0, "")
                continue
            assert refused.returncode == 125
            assert "Permission denied (MICROVM_CACHE names" in refused.stderr
        refused = run("image", "import", str(tmp_path / "out" / "image"), "other")
        assert refused.returncode == 125
        assert "Permission denied (MICROVM_CACHE names" in refused.stderr
        for verb, each in (("image", image.name), ("kernel", name)):
            refused = run(verb, "rm", each)
            assert refused.returncode == 125
            assert "Permission denied (MICROVM_CACHE names" in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before


@pytest.mark.thorough
def test_missing_content_is_an_error_with_a_hint(run: Run, cache: Path) -> None:
    cache.mkdir()
    with read_only(cache):
        for verb in ("image", "kernel", "template"):
            listed = run(verb, "ls")
            assert (listed.returncode, listed.stderr) == (0, "")
        for command in (["image", "build"], ["run", "true"], ["map", "/dev/null"]):
            result = run(*command)
            assert result.returncode == 125
            assert "Permission denied (MICROVM_CACHE names" in result.stderr
        assert list(cache.iterdir()) == []


def test_image_without_its_note_is_found_by_its_parts(run: Run, cache: Path) -> None:
    image = build()
    caches.clear(cache / "defaults")
    with read_only(cache):
        assert run("default").stdout == f"{image.path}\n"
