"""Tests of recipes: the order of their steps, and the names of the resulting images."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest
from tests.image.conftest import Leftovers

from microvm.errors import ImageError, UsageError
from microvm.images import Image
from microvm.images.config import ImageConfig
from microvm_image.build import build
from microvm_image.recipe import AddStep, Recipe, RunStep, Step, shell

pytestmark = pytest.mark.usefixtures("parts")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with a file, and with a folder that only its owner may enter."""
    folder = tmp_path / "files"
    (folder / "secret").mkdir(parents=True)
    (folder / "secret").chmod(0o700)
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o755)
    return folder


class RecordingMachine:
    """A stand-in for a machine, in which each command writes a file with the files that it saw."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def __call__(
        self, image: Image, command: Sequence[str], show: Callable[[str], None], layer: BinaryIO
    ) -> None:
        self.ran.append(command[-1])
        show(f"running {command[-1]}")
        if command[-1] == "false":
            raise ImageError("the step ended with status 1", hint="try true", detail="its output")
        with tarfile.open(fileobj=layer, mode="w|") as archive:
            archive.addfile(tarfile.TarInfo(command[-1]))
            text = repr(members(image)).encode()
            info = tarfile.TarInfo("saw")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text))


def members(image: Image) -> dict[str, int]:
    """Return the modes of the members of an image's initramfs, by name."""
    data = image.initramfs.read_bytes()
    at = 0
    found: dict[str, int] = {}
    while True:
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = data[at + 110 : at + 109 + fields[11]].decode()
        if name == "TRAILER!!!":
            return found
        found[name] = fields[1] & 0o7777
        at += (110 + fields[11] + 3) // 4 * 4
        at += (fields[6] + 3) // 4 * 4


def run(text: str) -> RunStep:
    return RunStep(shell(text))


def test_added_files_keep_their_permissions(files: Path) -> None:
    steps = (
        AddStep(files, "/srv"),
        AddStep(files / "tool", "/bin/"),
        AddStep(files / "tool", "/bin/other"),
    )
    found = members(build(Recipe(steps=steps)))
    assert found["srv/secret"] == 0o700
    assert found["srv/tool"] == found["bin/tool"] == found["bin/other"] == 0o755
    assert "bin/sh" in found


def test_added_file_does_not_replace_a_folder(files: Path) -> None:
    with pytest.raises(
        ImageError, match=r"tool:/bin: the image has a folder at /bin \(with a slash"
    ) as caught:
        build(Recipe(steps=(AddStep(files / "tool", "/bin"),)))
    assert caught.value.exit_status == 125


def test_relative_paths_are_in_the_folder_of_the_recipe(files: Path) -> None:
    recipe = Recipe(steps=(AddStep(Path("tool"), "/tool"),), folder=files)
    assert members(build(recipe))["tool"] == 0o755


def test_each_step_sees_the_steps_before_it(files: Path) -> None:
    machine = RecordingMachine()
    steps = run("one"), AddStep(files, "/srv"), run("two")
    image = build(Recipe(steps=steps), run=machine)
    assert machine.ran == ["one", "two"]
    assert {"one", "two", "saw", "srv/tool"} <= members(image).keys()
    assert image.manifest.history == ("run one", f"add {files}:/srv", "run two")


@pytest.mark.thorough
def test_a_command_runs_again_only_after_a_changed_step(files: Path) -> None:
    machine = RecordingMachine()

    def made(*steps: Step, **options: tuple[str, ...]) -> Image:
        machine.ran.clear()
        return build(Recipe(steps=steps, **options), run=machine)  # type: ignore[arg-type]

    both = made(run("one"), AddStep(files, "/srv"), run("two"))
    assert made(run("one"), AddStep(files, "/srv"), run("two")) == both
    assert machine.ran == []
    made(run("one"), AddStep(files, "/srv"), run("two"), cmd=("sh",))
    assert machine.ran == []
    made(run("one"), AddStep(files, "/srv"), run("three"))
    assert machine.ran == ["three"]
    (files / "tool").write_text("#!/bin/true\n")
    made(run("one"), AddStep(files, "/srv"), run("two"))
    assert machine.ran == ["two"]
    made(run("one"), env=("A=b",))
    assert machine.ran == ["one"]


@pytest.mark.thorough
def test_name_depends_on_everything_in_the_image(files: Path) -> None:
    (files / "other").write_text("")
    recipes = [
        Recipe(),
        Recipe(steps=(AddStep(files, "/srv"),)),
        Recipe(steps=(AddStep(files, "/opt"),)),
        Recipe(steps=(AddStep(files / "tool", "/srv/tool"),)),
        Recipe(warm=(("true",),)),
        Recipe(env=("A=b",)),
        Recipe(workdir="/srv"),
        Recipe(user="nobody"),
        Recipe(entrypoint=("sh",)),
        Recipe(cmd=("sh",)),
    ]
    assert len({build(recipe).name for recipe in recipes}) == len(recipes)
    first = build(recipes[1])
    (files / "tool").touch()  # the time of the file in another checkout
    assert build(recipes[1]) == first
    (files / "tool").chmod(0o700)
    assert build(recipes[1]) != first


def test_failed_step_ends_the_build_and_leaves_no_files(cache: Path, leftovers: Leftovers) -> None:
    with pytest.raises(ImageError) as caught:
        build(Recipe(steps=(run("false"),)), run=RecordingMachine())
    error = caught.value
    assert error.message == "run false: the step ended with status 1"
    assert (error.hint, error.detail) == ("try true", "its output")
    assert list((cache / "images").iterdir()) == list((cache / "layers").iterdir()) == []
    assert leftovers() == []


def test_working_directory_is_created() -> None:
    assert members(build(Recipe(workdir="/srv/app")))["srv/app"] == 0o755


def test_recipe_overrides_defaults_of_the_source() -> None:
    source = ImageConfig(("A=1", "B=2"), "/srv", "nobody", ("sh", "-c"), ("ls",))
    assert Recipe().config(source) == source
    assert Recipe(env=("A=3",)).config(source).env == ("A=1", "B=2", "A=3")
    assert Recipe(workdir="/x", user="0").config(source).options["cwd"] == "/x"
    assert Recipe(cmd=("true",)).config(source).argv(()) == ("sh", "-c", "true")
    own = Recipe(entrypoint=("env",)).config(source)
    assert (own.entrypoint, own.cmd) == (("env",), ())


@pytest.mark.parametrize("text", ["", "file", ":/x", "file:", "file:relative"])
def test_invalid_step_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        AddStep.parse(text)


def test_invalid_recipe_is_refused() -> None:
    with pytest.raises(UsageError, match="the variable 'A' is not"):
        Recipe(env=("A",))
    with pytest.raises(UsageError, match="a command without a name"):
        Recipe(warm=((),))
    with pytest.raises(UsageError, match="has a NUL"):
        run("a\0b")
