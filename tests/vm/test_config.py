"""Tests of the default options that an image has for a run. Options of the user override them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.changed_image import changed_image
from tests.vm.conftest import Command

from microvm import MicroVM
from microvm.images import Image
from microvm.images.config import ImageConfig

CONFIG = ImageConfig(
    env=("GREETING=hello", "PATH=/srv/bin:/bin:/usr/bin", "HOME=/var"),
    workdir="/etc",
    user="nobody",
    entrypoint=("echo", "said:"),
    cmd=("nothing",),
)
SHOWN = ["sh", "-c", "echo $GREETING $PATH $HOME; pwd; id -un"]

Configured = Callable[[ImageConfig], Path]


@pytest.fixture(scope="module")
def configured(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Configured:
    """A function that returns the default image with another configuration."""

    def configured(config: ImageConfig) -> Path:
        folder = tmp_path_factory.mktemp("configured") / "image"
        return changed_image(image, folder, config=config).path

    return configured


@pytest.fixture(scope="module")
def folder(configured: Configured) -> Path:
    """An image that sets every default option."""
    return configured(CONFIG)


@pytest.mark.thorough
async def test_a_command_gets_the_defaults_of_the_image(folder: Path) -> None:
    async with MicroVM(folder) as vm:
        assert (await vm.run(SHOWN, text=True)).stdout.splitlines() == [
            "hello /srv/bin:/bin:/usr/bin /var",
            "/etc",
            "nobody",
        ]
        env = {"GREETING": "hi", "PATH": "/bin:/usr/bin"}
        told = await vm.run(SHOWN, text=True, env=env, cwd="/", user=0)
        assert told.stdout.splitlines() == ["hi /bin:/usr/bin /var", "/", "root"]
        async with await vm.exec(["pwd"]) as process:
            assert await process.stdout.read() == b"/etc\n"
            assert await process.wait() == 0


def test_jobs_get_the_defaults_except_the_entrypoint(microvm: Command, folder: Path) -> None:
    jobs = b'echo $GREETING $(pwd)\n{"argv": ["pwd"], "cwd": "/srv"}\n'
    done = microvm("map", "-j1", "--ordered", "--image", str(folder), "-", input=jobs)
    outputs = [json.loads(line)["stdout"] for line in done.stdout.splitlines()]
    assert outputs == ["hello /etc\n", "/srv\n"]


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        ([], b"said: nothing\n"),
        (["--", "something", "-e"], b"said: something -e\n"),
        (["--entrypoint", "pwd", "-w", "/"], b"/\n"),
        (["--entrypoint", "", "--", "id", "-un"], b"nobody\n"),
    ],
)
def test_command_line_of_a_run_equals_that_of_docker(
    microvm: Command, folder: Path, arguments: list[str], printed: bytes
) -> None:
    done = microvm("run", "--image", str(folder), *arguments)
    assert (done.returncode, done.stdout, done.stderr) == (0, printed, b"")


def test_run_without_any_command_is_refused(microvm: Command, configured: Configured) -> None:
    nothing = str(configured(ImageConfig(env=("A=1",))))
    for arguments, message in (
        ([], "Missing argument '[--] CMD [ARG]...'"),
        (["--image", nothing], f"image {nothing} has no command of its own (give a command"),
        (["--entrypoint", ""], "there is no command (give a command"),
    ):
        done = microvm("run", *arguments)
        assert done.returncode == 2
        assert message in done.stderr.decode()


@pytest.mark.thorough
def test_missing_default_user_folder_or_entrypoint_is_named(
    microvm: Command, configured: Configured
) -> None:
    for config, status, message in (
        (ImageConfig(workdir="/nowhere"), 126, "cannot enter its working directory /nowhere"),
        (ImageConfig(user="ghost"), 126, "cannot become its user ghost"),
        (
            ImageConfig(entrypoint=("/nothing",)),
            127,
            "/nothing: No such file or directory in the guest",
        ),
    ):
        done = microvm("run", "--image", str(configured(config)), "--", "true")
        assert done.returncode == status
        assert message in done.stderr.decode()
