"""Tests of the machine file: its valid contents, and the position and text of each error."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.ordinary import acting_as_user

from microvm.cli.machine_file import read
from microvm.errors import UsageError
from microvm_image.added_files import AddedFiles
from microvm_image.limits import Limits
from microvm_image.recipe import AddStep, Recipe, RunStep
from microvm_proto.load import LIMIT

Write = Callable[[str], Path]

DOCUMENT = Path(__file__).parents[2] / "docs/images.md"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the file, beside a folder `wheels` and a folder `files`."""
    for name in ("wheels", "files"):
        (tmp_path / name).mkdir()

    def write(text: str) -> Path:
        path = tmp_path / "machine.toml"
        path.write_text(text)
        return path

    return write


def said(path: Path) -> list[str]:
    """Return the lines of the error of a wrong file, without its path."""
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(path) in caught.value.message
    return caught.value.detail.replace(f"{path}:", "").splitlines()


def test_machine_file_with_every_key(write: Write) -> None:
    path = write("""
        from = "debian:trixie"
        package = ["python3", "python3-pip"]
        warm = ["python3 -c 'import json'", ["python3", "--version"]]
        workdir = "/srv"
        user = "nobody"
        entrypoint = ["python3"]
        cmd = ["-c", "print(1)"]
        env = { A = "b", "C.D" = "=" }

        [[step]]
        add = "wheels:/wheels"

        [[step]]
        run = "pip install demo"

        [[step]]
        run = ["rm", "-r", "/wheels"]
    """)
    assert read(path) == Recipe(
        source="debian:trixie",
        packages=("python3", "python3-pip"),
        steps=(
            AddStep(Path("wheels"), "/wheels"),
            RunStep(("sh", "-c", "pip install demo")),
            RunStep(("rm", "-r", "/wheels")),
        ),
        warm=(("sh", "-c", "python3 -c 'import json'"), ("python3", "--version")),
        env=("A=b", "C.D=="),
        workdir="/srv",
        user="nobody",
        entrypoint=("python3",),
        cmd=("-c", "print(1)"),
        folder=path.parent,
    )


def test_the_document_shows_one_that_can_be_read(write: Write) -> None:
    [example] = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    recipe = read(write(example))
    assert {type(step) for step in recipe.steps} == {AddStep, RunStep}
    names = "source packages pip warm env workdir user".split()
    assert all(getattr(recipe, name) for name in names)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("from = 1", "1:8: error: `from` must be a string [wrong-type]"),
        ("package = 'python3'", "1:11: error: `package` must be a list of strings [wrong-type]"),
        ("warm = 'true'", "1:8: error: `warm` must be a list of commands [wrong-type]"),
        ("warm = [[]]", "1:9: error: a command without a name [wrong-value]"),
        ("env = ['A=b']", "1:7: error: `env` must be one table [wrong-type]"),
        ("[env]\n'A=B' = ''", "2:9: error: this is not a valid name of a variable [wrong-value]"),
        ("step = 'true'", "1:8: error: `step` must be an array of tables [wrong-type]"),
        ("[[step]]", "1:1: error: a step must have either `add` or `run` [step]"),
        (
            "[[step]]\nadd = 'wheels:/w'\nrun = 'ls'",
            "1:1: error: a step must have either `add` or `run` [step]",
        ),
        ("[[step]]\nadd = 'wheels:w'", "2:7: error: 'w' is no path from the root [wrong-value]"),
        ("[[step]]\nadd = 'x:/x'", "2:7: error: x does not exist [missing-file]"),
        ("a = \n", "1:5: error: Invalid value [syntax]"),
    ],
)
def test_error_of_a_machine_file_has_its_position(write: Write, text: str, line: str) -> None:
    assert said(write(text))[0] == line


@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "long"])
def test_a_file_that_is_none_or_too_long_is_refused(tmp_path: Path, kind: str) -> None:
    path, why = tmp_path / "machine.toml", "Not a plain file"
    hint = ["hint: write the content to a regular file, and name that file"]
    if kind == "link":
        path.symlink_to("/dev/null")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
        why, hint = "Is a directory", []
    else:
        path.write_bytes(b"\n" * (LIMIT + 1))
        why, hint = "Longer than 16 MiB", []
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it waits"))
    signal.alarm(20)
    try:
        first, *hints = said(path)
        assert first == f" error: {why} [unreadable]"
        assert [*map(str.strip, hints)] == hint
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_a_folder_that_cannot_be_searched_is_reported() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # every user can reach this folder
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "closed").mkdir(mode=0o600)
        (folder / "machine.toml").write_text("[[step]]\nadd = 'closed/x:/x'")
        with acting_as_user():
            first, *_, hint = said(folder / "machine.toml")
    assert first == "2:7: error: closed/x: Permission denied [unreadable]"
    assert "chmod a+x" in hint


OUTSIDE = ("/etc/passwd", "../outside", "wheels/../../outside", "link", "folder/passwd")


@pytest.fixture
def links(write: Write, tmp_path: Path) -> Path:
    """Return the path of a machine file whose folder has links that lead out of the folder."""
    path = write("")
    folder = tmp_path / "project"
    folder.mkdir()
    (tmp_path / "outside").touch()
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "folder").symlink_to("/etc")
    (folder / "inside").symlink_to("wheels")
    (tmp_path / "wheels").rename(folder / "wheels")
    return path.rename(folder / path.name)


@pytest.mark.parametrize("named", OUTSIDE)
def test_paths_outside_its_folder_are_refused(links: Path, named: str) -> None:
    real = (links.parent / named).resolve()
    for text in (
        f"from = '{named}'",
        f"[[step]]\nadd = '{named}:/x'",
        f"from = 'oci:{named}'",
        f"from = 'oci:{named}:tag:1'",
        f"from = 'docker-archive:{named}'",
    ):
        links.write_text(text)
        first, *_, hint = said(links)
        said_of_it = f"{named} is outside the folder of the machine file: it leads to {real}"
        assert first.endswith(f": error: {said_of_it} [outside]")
        assert hint.endswith(f"to use it in the image, add `--allow {real}`")
        for allowed in (real, real.parent):
            assert read(links, [allowed])
        with pytest.raises(UsageError):
            read(links, [Path("/nowhere")])


@pytest.mark.parametrize("named", ["wheels", "./wheels", "inside", "wheels/../wheels", "."])
def test_paths_in_its_folder_are_not(links: Path, named: str) -> None:
    links.write_text(f"from = '{named}'\n[[step]]\nadd = '{named}:/x'")
    assert read(links).source == named


def test_a_link_that_changes_after_the_file_is_read_is_refused(links: Path) -> None:
    links.write_text("[[step]]\nadd = 'inside:/x'")
    recipe = read(links)
    (links.parent / "inside").unlink()
    (links.parent / "inside").symlink_to("/etc")
    [step] = recipe.steps
    assert isinstance(step, AddStep)
    with pytest.raises(UsageError, match="it leads to /etc"):
        AddedFiles(step, recipe, Limits())


@pytest.mark.parametrize("text", ["FROM debian\nRUN x\n", "# a\nARG V=1\n\nfrom x AS y\n"])
def test_containerfile_is_no_machine_file(write: Write, text: str) -> None:
    with pytest.raises(UsageError, match="Containerfile, but -f needs a machine file") as caught:
        read(write(text))
    assert "docker save app | microvm image build app --from -" in caught.value.detail
