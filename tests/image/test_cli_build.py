"""Tests of `microvm image build` with recipes, with a stand-in for the machine of the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from click.testing import CliRunner, Result
from tests.image import oci
from tests.image.layers import file, tar

from microvm.cli.verbs import image_build
from microvm.cli.verbs.image import image
from microvm.errors import ImageError, UsageError
from microvm.images import Image, load, readymade
from microvm.images.readymade import ReadyMade
from microvm.qemu import launcher


@pytest.fixture(autouse=True)
def ran(
    archive: Path, kernel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> list[tuple[str, ...]]:
    """Set the environment to the small parts, and return the list of executed commands."""
    monkeypatch.setenv("MICROVM_ROOTFS", str(archive))
    monkeypatch.setenv("MICROVM_KERNEL", str(kernel))
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    ran: list[tuple[str, ...]] = []

    class Runner:
        def __init__(self, **options: Any) -> None:
            names = ("memory", "disk", "limit")
            ran.append(("with", *(str(options[name]) for name in names)))

        def __call__(
            self, image: Image, command: Sequence[str], show: Callable[[str], None], layer: BinaryIO
        ) -> None:
            assert image.manifest.config.env == ("A=b",)
            ran.append(tuple(command))
            show(f"output of {command[-1]}")
            layer.write(bytes(1024))

    monkeypatch.setattr(image_build, "StepRunner", Runner)
    return ran


def build(*arguments: str) -> Result:
    return CliRunner().invoke(image, ["build", *arguments])


OPTIONS = (
    *("--add", "one:/one", "--run", "ls 1", "--add", "two:/two", "--run", "ls 2", "--env", "A=b"),
    *("--warm", "true", "--workdir", "/srv", "--user", "nobody"),
    *("--entrypoint", "sh -c", "--cmd", "'echo 1' x"),
)
FILE = """
warm = ["true"]
workdir = "/srv"
user = "nobody"
entrypoint = ["sh", "-c"]
cmd = ["echo 1", "x"]
env.A = "b"
step = [{ add = "one:/one" }, { run = "ls 1" }, { add = "two:/two" }, { run = "ls 2" }]
"""


def test_steps_run_and_show_in_the_given_order(ran: list[tuple[str, ...]]) -> None:
    result = build("app:1", "--memory", "512M", "--disk", "2G", "--limit", "unpacked=1G", *OPTIONS)
    assert ran[1:] == [("sh", "-c", "ls 1"), ("sh", "-c", "ls 2")]
    assert ran[0] == ("with", str(512 << 20), str(2 << 30), str(1 << 30))
    shown = [line for line in result.stderr.splitlines() if line[0] == "o" or "/4]" in line]
    assert shown == [
        "microvm: [1/4] add one:/one",
        "microvm: [2/4] run ls 1",
        "output of ls 1",
        "microvm: [3/4] add two:/two",
        "microvm: [4/4] run ls 2",
        "output of ls 2",
    ]
    manifest = load("app:1").manifest
    assert manifest.history[:4] == ("add one:/one", "run ls 1", "add two:/two", "run ls 2")
    assert manifest.config.entrypoint == ("sh", "-c")
    assert manifest.config.cmd == ("echo 1", "x")
    assert (manifest.config.workdir, manifest.config.user) == ("/srv", "nobody")
    assert manifest.warm == (("sh", "-c", "true"),)


def test_build_compiles_the_launcher_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "is_ready", lambda: False)
    build()
    (program,) = (cache / "programs").glob("launcher-*")
    assert launcher.find() == program


def test_a_file_and_equal_options_give_the_same_image(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/machine.toml").write_text(FILE)
    for name in ("one", "two"):
        (tmp_path / "folder" / name).write_text(name)
    first = build(*OPTIONS)
    assert first.exit_code == 0, first.output
    assert build("-f", "folder/machine.toml").stdout == first.stdout


def test_file_excludes_options_of_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "machine.toml").write_text(FILE)
    result = build("-f", "machine.toml", "--from", "alpine")
    assert result.exit_code == 2
    assert "-f excludes --from: set" in result.stderr


def test_allow_permits_files_in_other_folders(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/machine.toml").write_text("[[step]]\nadd = '../one:/one'\n")
    (tmp_path / "one").touch()
    error = build("-f", "folder/machine.toml").exception
    assert isinstance(error, UsageError)
    assert f"--allow {tmp_path}/one" in error.detail
    assert build("-f", "folder/machine.toml", "--allow", "one").exit_code == 0
    assert build("--allow", "one").exit_code == 2


@pytest.mark.parametrize("source", ["oci:../layout:app", "docker-archive:/saved.tar"])
def test_file_cannot_use_a_stored_image_elsewhere(tmp_path: Path, source: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/machine.toml").write_text(f"from = '{source}'\n")
    error = build("-f", "folder/machine.toml").exception
    assert isinstance(error, UsageError)
    assert error.detail.startswith("folder/machine.toml:1:8: error: ")
    assert "is outside the folder of the machine file" in error.detail


def test_errors_in_a_machine_file_are_shown() -> None:
    Path("machine.toml").write_text("cmd = 1\n")
    error = build("-f", "machine.toml").exception
    assert isinstance(error, UsageError)
    assert error.detail.startswith("machine.toml:1:7: error: `cmd` must be a list of strings")


def test_empty_source_is_refused() -> None:
    result = build("app", "--from", "")
    assert result.exit_code == 2
    assert "--from: the source is empty" in result.stderr
    Path("machine.toml").write_text('from = ""\n')
    error = build("app", "-f", "machine.toml").exception
    assert isinstance(error, UsageError)
    assert error.detail.startswith("machine.toml:1:8: error: the source is empty")


@pytest.mark.thorough
@pytest.mark.parametrize("as_file", [False, True])
def test_a_ready_made_image_is_built_to_be_a_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_file: bool
) -> None:
    layout = oci.layout(tmp_path / "layout", tar(file("there", b"1")))
    with oci.registry(tmp_path) as address:
        reference = f"docker://{address}/base:1"
        oci.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest", reference)
        made = ReadyMade((reference,), (), ("there",), ("true",))
        monkeypatch.setitem(readymade.IMAGES, "ready", made)
        Path("machine.toml").write_text('from = "ready"\n')
        result = build("app", *(("-f", "machine.toml") if as_file else ("--from", "ready")))
    assert result.exit_code == 0, result.exception
    assert f"image ready: from {reference}@sha256:" in result.stderr
    assert load("app").manifest.source.startswith(f"{load('ready').name}@sha256:")


def test_a_limit_can_be_set() -> None:
    Path("root").mkdir()
    Path("root/file").write_text("more than that")
    error = build("--from", "root", "--limit", "unpacked=10").exception
    assert isinstance(error, ImageError)
    assert "more than 10 bytes unpacked" in error.message
    assert "`microvm image build --limit unpacked=N`" in error.hint
    assert build("--from", "root", "--limit", "unpacked=1K").exit_code == 0
    assert "'speed' is not one of members, " in build("--limit", "speed=1").stderr


def test_invalid_tag_is_refused_before_the_build(cache: Path) -> None:
    assert isinstance(build("a tag").exception, ImageError)
    assert not (cache / "images").exists()
