"""Tests that a build finds all faults together, before it downloads or compiles anything."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.ordinary import acting_as_user

from microvm import arches
from microvm.cache import disk_errors
from microvm.cli.verbs.image import image as command
from microvm.errors import ImageError, QemuError
from microvm.images import readymade
from microvm.progress import NullReporter
from microvm.system import compiler
from microvm_image import checks, programs
from microvm_image.build import build
from microvm_image.kernel import selection
from microvm_image.layer import HostData
from microvm_image.limits import Limits
from microvm_image.recipe import AddStep, Recipe
from microvm_image.sources import debian

KINDS = "which is a socket, a pipe or a device"


class StepRecorder(NullReporter):
    """A reporter that collects the steps that a build has begun."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def step(self, text: str) -> None:
        self.steps.append(text)


def fault(recipe: Recipe, kernel: Path | None = None) -> ImageError:
    """Return the error of a build, and check that the build has begun no step."""
    report = StepRecorder()
    with pytest.raises(ImageError) as caught:
        build(recipe, kernel=kernel, report=report)
    assert report.steps == []
    return caught.value


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install only the programs that compile, and return the folder of these programs."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in ("sh", "make", "gcc", "as", "ld"):
        if path := shutil.which(name):
            (folder / name).symlink_to(path)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_all_missing_files_are_named(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    steps = tuple(AddStep(tmp_path / name, "/x") for name in ("one", "there", "two"))
    error = fault(Recipe(steps=steps))
    reason = "there is no such file or folder"
    assert error.message == "; ".join(
        f"add {tmp_path / name}:/x: {reason}" for name in ("one", "two")
    )


@pytest.mark.parametrize("closed", ["file", "folder/file", "folder", "above"])
def test_an_unreadable_file_is_found_before_downloads(
    tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint is about the user's file, not about the cache."""
    for other in (programs, selection, debian):
        monkeypatch.setattr(other, "check", lambda *_: None)
    tmp_path.chmod(0o755)
    source = tmp_path / ("above/file" if closed == "above" else closed.partition("/")[0])
    path = tmp_path / closed
    if closed in {"folder", "above"}:
        path.mkdir()
        (path / "file").touch()
    else:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    path.chmod(0)
    recipe = Recipe(source="debian:trixie", steps=(AddStep(source, "/x"),))
    try:
        with acting_as_user(), pytest.raises(ImageError) as caught:
            checks.check(recipe, arches.find())
    finally:
        path.chmod(0o700)
    assert f"add {source}:/x: " in caught.value.message
    assert ": cannot read it: Permission denied" in caught.value.message
    assert "make it readable for your user" in caught.value.hint
    assert "MICROVM_CACHE" not in caught.value.hint


@pytest.mark.parametrize("kind", ["socket", "pipe", "device"])
def test_only_files_and_folders_can_be_added(kind: str, tmp_path: Path) -> None:
    source = Path("/dev/null") if kind == "device" else tmp_path / "source"
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "socket":
            server.bind(str(source))
        elif kind == "pipe":
            os.mkfifo(source)
        error = fault(Recipe(steps=(AddStep(source, "/x"),)))
    assert error.message == f"add {source}:/x: cannot add {source}, {KINDS}"
    assert error.hint == "add a file or a folder"


def test_added_files_are_counted_before_downloads(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(5))
    recipe = Recipe(source="debian:trixie", steps=(AddStep(tmp_path, "/x"),))
    with pytest.raises(ImageError, match=r"add .*: larger than it may be"):
        checks.check(recipe, arches.find(), limits=Limits(unpacked=4))


def test_unreadable_file_is_not_reported_as_a_cache_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0)
    data = HostData(path, (1, 0, 0))
    with disk_errors(), acting_as_user(), pytest.raises(ImageError) as caught:
        list(data.chunks())
    assert caught.value.message == f"{path}: cannot read it: Permission denied"
    assert "MICROVM_CACHE" not in caught.value.hint


def test_all_missing_tools_are_named(tools: Path) -> None:
    error = fault(Recipe(source="debian:trixie"))
    user = ["unshare", "newuidmap"] if os.geteuid() else []
    for name in ("mmdebstrap", "mkfs.erofs", *user):
        assert name in error.message
    assert error.message.endswith("which are not installed")
    assert error.hint.startswith("apt install mmdebstrap erofs-utils")
    assert fault(Recipe(source="docker://a/b")).hint == "apt install skopeo"
    (tools / "make").unlink()
    assert "make is not installed" in fault(Recipe()).message


@pytest.mark.usefixtures("tools", "cache")
def test_missing_tools_of_all_sources_have_one_command() -> None:
    with pytest.raises(ImageError, match=r"mmdebstrap and mkfs\.erofs.*skopeo") as caught:
        readymade.find("python", NullReporter())
    user = " util-linux uidmap" if os.geteuid() else ""
    assert caught.value.hint == f"apt install mmdebstrap erofs-utils{user} skopeo"


def test_faults_of_several_kinds_are_named_together(tools: Path, tmp_path: Path) -> None:
    recipe = Recipe(source="debian:trixie", steps=(AddStep(tmp_path / "file", "/x"),))
    error = fault(recipe, tmp_path / "kernel")
    for text in (f"add {tmp_path}/file:/x: ", f"{tmp_path}/kernel: cannot", "mkfs.erofs"):
        assert text in error.message


def test_a_missing_compiler_is_found_before_downloads(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tools / "gcc").unlink(missing_ok=True)
    monkeypatch.setattr(compiler, "find_spec", lambda _: None)
    assert "no C compiler" in fault(Recipe()).message


def test_a_kept_debian_needs_no_tools(tools: Path, cache: Path) -> None:
    """The tools are required only if the cache has no Debian that is recent enough."""
    kept = cache / "downloads" / f"debian-trixie-{arches.find().debian}-0-1.tar"
    kept.parent.mkdir(parents=True)
    kept.touch()
    checks.check(Recipe(source="debian:trixie"), arches.find())


def test_files_are_checked_before_a_ready_made_image_is_built(tools: Path, tmp_path: Path) -> None:
    arguments = ["build", "x", "--from", "python", "--add", f"{tmp_path}/file:/x"]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, ImageError)
    assert result.exception.message.startswith(f"add {tmp_path}/file:/x: ")


def test_qemu_is_looked_for_before_a_build_with_commands(tools: Path) -> None:
    result = CliRunner().invoke(command, ["build", "x", "--run", "true"])
    assert isinstance(result.exception, QemuError)
