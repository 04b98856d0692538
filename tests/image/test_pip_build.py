"""Tests of images with Python packages, with a stand-in for the machine that installs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from click.testing import CliRunner, Result
from tests.image.layers import file, link, tar
from tests.image.test_guest_python import DEBIAN, GLIBC, VERSION
from tests.support.wheels import use_index, wheel

from microvm import arches
from microvm.cli.verbs import image_build
from microvm.cli.verbs.image import image
from microvm.errors import ImageError, UsageError
from microvm.images import IMPORTED, Image, load, tags
from microvm.progress import NoticeReporter, NullReporter
from microvm_image.build import build
from microvm_image.pip import image as packaged
from microvm_image.pip.wheels import COMMAND
from microvm_image.recipe import Recipe, RunStep
from microvm_image.sources import image as images

pytestmark = pytest.mark.usefixtures("parts")

PYTHON = (
    *DEBIAN,
    link("usr/bin/python3", "python3.13"),
    file("usr/bin/python3.13", GLIBC + VERSION),
    file("usr/lib/python3/dist-packages/pip/__main__.py"),
)
CHANGES = tar(file("usr/lib/installed"), file(".wh.microvm-wheels"))


def content(made: Image) -> list[str]:
    with images.find(made.path, arches.find()).tree() as tree:
        return [path for path, _ in tree.walk()]


class Installer:
    """A stand-in for machines, which records the wheels that each command finds."""

    def __init__(self, **options: Any) -> None:
        self.found: list[list[str]] = []

    def __call__(
        self, image: Image, command: Sequence[str], show: Callable[[str], None], layer: BinaryIO
    ) -> None:
        wheels = [path.rpartition("/")[2] for path in content(image) if path.endswith(".whl")]
        self.found.append([*command, *wheels])
        layer.write(CHANGES if command[0] == "python3" else bytes(1024))


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that is the only index of pip."""
    folder = tmp_path / "index"
    wheel(folder, "one", needs=["two"])
    wheel(folder, "two")
    use_index(monkeypatch, folder)
    return folder


@pytest.fixture
def python(tmp_path: Path) -> str:
    """Return the path of an archive with a root file system that has Python."""
    (tmp_path / "python.tar").write_bytes(tar(*PYTHON))
    return str(tmp_path / "python.tar")


@pytest.fixture
def installer(monkeypatch: pytest.MonkeyPatch) -> Installer:
    """Return a stand-in for the machines of builds."""
    made = Installer()
    monkeypatch.setattr(image_build, "StepRunner", lambda **_: made)
    monkeypatch.setattr(packaged, "StepRunner", lambda **_: made)
    monkeypatch.setattr(image_build, "find_qemu", lambda _: None)
    return made


@pytest.mark.thorough
def test_wheels_are_installed_before_the_steps(
    python: str, installer: Installer, index: Path
) -> None:
    recipe = Recipe(source=python, pip=("one",), steps=(RunStep(("true",)),))
    made = build(recipe, run=installer)
    wheels = ["one-1-py3-none-any.whl", "two-1-py3-none-any.whl"]
    assert installer.found == [[*COMMAND, *wheels], ["true"]]
    assert "usr/lib/installed" in content(made)
    assert not [path for path in content(made) if "wheels" in path]
    first, second, last = made.manifest.history
    assert first.startswith("pip one==1 --hash=sha256:")
    assert second.startswith("pip two==1 --hash=sha256:")
    assert last == "run true"
    again = Recipe(source=python, pip=("two==1", "one>=1"), steps=recipe.steps)
    assert build(again, run=installer).name == made.name
    assert len(installer.found) == 2
    wheel(index, "two", "2")
    newer = build(recipe, run=installer)
    assert newer.name != made.name
    assert "pip two==2 " in newer.manifest.history[1]


@pytest.mark.thorough
def test_image_needs_python_and_a_machine(tmp_path: Path, python: str) -> None:
    with pytest.raises(ImageError, match="the image has no python3") as caught:
        build(Recipe(pip=("one",)))
    assert "--from python" in caught.value.hint
    with pytest.raises(ImageError, match="there is no machine to run it in"):
        build(Recipe(source=python, pip=("one",)))


def cli(*arguments: str) -> Result:
    return CliRunner().invoke(image, ["build", *arguments])


@pytest.mark.thorough
def test_options_and_machine_file_give_the_same_image(
    tmp_path: Path, python: str, installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("two # comment\n")
    made = cli("--from", python, "--pip", "one==1", "-r", "list.txt", "app:1")
    assert made.exit_code == 0, made.output
    assert "microvm: [2/2] install 2 Python packages\n" in made.stderr
    Path("machine.toml").write_text(
        'from = "python.tar"\npip = ["one"]\nrequirement = ["list.txt"]\n'
    )
    assert cli("-f", "machine.toml").stdout == made.stdout
    assert cli("-f", "machine.toml", "--pip", "one").exit_code == 2
    refused = cli("--pip", "-e .").exception
    assert isinstance(refused, UsageError)
    assert "'-e .' is not the name of a Python package" in str(refused)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('pip = ["./one"]', "'./one' is not the name of a Python package"),
        ('pip = "one"', "1:7: error:"),
        ('requirement = ["bad.txt"]', "bad.txt:1: '--pre' is not the name"),
        ('requirement = ["../list.txt"]', "is outside the folder of the machine file"),
    ],
)
def test_machine_file_with_wrong_packages(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "list.txt").write_text("one\n")
    (tmp_path / "folder/bad.txt").write_text("--pre\n")
    path = tmp_path / "folder/machine.toml"
    path.write_text(f"{text}\n")
    error = cli("-f", str(path)).exception
    assert isinstance(error, UsageError)
    assert message in error.detail


@pytest.mark.thorough
def test_image_with_packages_is_built_once(
    python: str, installer: Installer, monkeypatch: pytest.MonkeyPatch, index: Path
) -> None:
    base = build(Recipe(source=python, warm=(("true",),)), tag="base")
    said: list[str] = []
    report = NoticeReporter(said.append)
    made = packaged.find("base", ["two", "one>=1", "two"], report)
    assert "image base+one+two:" in said[0]
    assert made.manifest.warm == base.manifest.warm
    wheel(index, "two", "2")  # a newer version changes nothing
    assert packaged.find(base, ["one>=1", "two"], report) == made
    assert len(installer.found) == len(said) == 1
    assert packaged.find(base, [], report) == base
    (tag,) = tags.of(made.name)
    assert load(tag) == made
    (made.path / IMPORTED).touch()  # its author could have chosen this tag
    assert packaged.find(base, ["one>=1", "two"], report).name != made.name
    with pytest.raises(UsageError):
        packaged.find(base, ["/srv/one"], NullReporter())
