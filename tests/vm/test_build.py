"""Tests that build images from all kinds of sources and with commands as steps, and boot them."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.image import oci
from tests.image.layers import file, folder, tar
from tests.support.killing import KilledStarts
from tests.support.target import build, target
from tests.support.target import name as arch_name
from tests.support.wheels import use_index, wheel
from tests.vm.conftest import Command

from microvm import MicroVM, cache
from microvm.errors import ImageError
from microvm.images import Image, readymade
from microvm.progress import NullReporter
from microvm.start import starter, template
from microvm.system.compiler import compiler
from microvm_image import rootfs
from microvm_image.limits import Limits
from microvm_image.node import BytesData, FileNode
from microvm_image.recipe import AddStep, Recipe, RunStep, shell
from microvm_image.step_runner import StepRunner

pytestmark = [pytest.mark.thorough, pytest.mark.usefixtures("copied_cache")]

CONFIG = ("--config.env=GREETING=hello", "--config.workingdir=/srv")
CMD = ("--config.cmd=cat", "--config.cmd=greeting")
UPPER = tar(
    *(folder("srv"), file("srv/greeting", b"from the upper layer\n")),
    *(file("etc/.wh.lower"), folder("opt"), file("opt/.wh..wh..opq"), file("opt/upper")),
    *(file("etc/hostname", b"web1\n"), file("etc/hosts")),
)
STATIC = '#include <stdio.h>\nint main(void) { return puts("alone") < 0; }\n'

#: An image that several tests share, since its build takes most of a minute.
PYTHON = Recipe(source=readymade.DEBIAN, packages=readymade.IMAGES["python"].packages)


@pytest.fixture
def fresh() -> tuple[str, str]:
    """An option that makes an image differ from all images in the cache."""
    return "--env", f"FRESH={uuid.uuid4()}"


@pytest.fixture(scope="module")
def lower() -> bytes:
    """A layer with the root file system of the default image, and files for whiteouts."""
    out = io.BytesIO()
    with rootfs.find(target(), None, None, NullReporter()).tree() as tree:
        tree.write_tar(out.write)
    end = tar(folder("opt"), file("opt/lower"), file("etc/lower"))
    return out.getvalue()[:-1024] + end  # without the zeros that end a tar archive


@pytest.fixture(scope="module")
def layout(lower: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout with two layers, whiteouts, and a configuration."""
    config = (*CONFIG, *CMD, f"--architecture={target().debian}")
    return oci.layout(tmp_path_factory.mktemp("oci") / "layout", lower, UPPER, config=config)


async def looks_merged(image: Image) -> None:
    async with MicroVM(image) as vm:
        seen = await vm.run(["sh", "-c", "echo $GREETING; pwd; ls /opt; test -e /etc/lower"])
        assert (seen.stdout, seen.returncode) == (b"hello\n/srv\nupper\n", 1)


async def test_oci_layout_with_whiteouts_can_be_built(layout: Path) -> None:
    image = build(Recipe(source=str(layout)))
    await looks_merged(image)


SHOW_NAME = """
hostname
cat /etc/hostname
for name in "$(hostname)" localhost; do getent hosts $name; ping -c 1 $name >&2; done
"""


@pytest.mark.parametrize("source", ["default", "layout", "archive"])
async def test_guest_resolves_its_own_host_name(
    image: Image, layout: Path, tmp_path: Path, source: str
) -> None:
    """The host name and hosts file of the image must not matter."""
    if source == "layout":
        image = build(Recipe(source=str(layout)))
    elif source == "archive":
        with (
            rootfs.find(target(), None, None, NullReporter()).tree() as tree,
            (tmp_path / "root.tar").open("wb") as archive,
        ):
            for name, text in (("etc/hosts", b"10.9.8.7 db\n"), ("etc/hostname", b"web1\n")):
                tree.put(name, FileNode(stat.S_IFREG | 0o644, data=BytesData(text)))
            tree.write_tar(archive.write)
        image = build(Recipe(source=str(tmp_path / "root.tar")))
    async with MicroVM(image) as vm:
        seen = await vm.run(["sh", "-c", SHOW_NAME], text=True)
        assert seen.returncode == 0, seen.stderr
        name, file_name, *found = seen.stdout.splitlines()
        assert (name, file_name) == ("microvm", "microvm")
        assert {line.split()[0] for line in found} <= {"127.0.0.1", "::1"}
        assert {line.split()[1] for line in found} == {"microvm", "localhost"}
        hosts = await vm.read_file("/etc/hosts", encoding="utf-8")
        assert ("10.9.8.7 db\n" in hosts) == (source == "archive")


async def test_archive_of_docker_save_can_be_built(
    layout: Path, tmp_path: Path, microvm: Command
) -> None:
    saved = tmp_path / "saved.tar"
    oci.run("skopeo", "copy", f"oci:{layout}:latest", f"docker-archive:{saved}:app:1")
    with saved.open("rb") as stream:
        built = microvm("image", "build", "saved:test", "--from", "-", stdin=stream)
    assert built.returncode == 0, built.stderr
    name = Path(os.fsdecode(built.stdout).rstrip()).name
    assert f"saving a template of {name}".encode() in built.stderr
    assert any(each.startswith(name) for each in template.STORE.names())
    done = microvm("run", "--image", "saved:test")
    assert (done.stdout, done.returncode) == (b"from the upper layer\n", 0), done.stderr


@pytest.fixture(scope="module")
def registry(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a local registry that contains the image `app`."""
    with oci.registry(tmp_path_factory.mktemp("registry")) as address:
        copy = ("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest")
        oci.run(*copy, f"docker://{address}/app:1")
        yield address


async def test_image_of_a_registry_can_be_built(registry: str) -> None:
    image = build(Recipe(source=f"docker://{registry}/app:1"))
    assert "@sha256:" in image.manifest.source
    await looks_merged(image)


@pytest.fixture
def alone(tmp_path: Path) -> Path:
    (tmp_path / "alone.c").write_text(STATIC)
    command = [*compiler(target(), "a test", libc=True), "-static", "-o", "alone", "alone.c"]
    subprocess.run(command, check=True, cwd=tmp_path)
    return tmp_path


async def test_image_with_only_a_static_program(alone: Path) -> None:
    steps = (AddStep(Path("alone"), "/bin/alone"),)
    recipe = Recipe(source="scratch", steps=steps, cmd=("alone",), folder=alone)
    async with MicroVM(build(recipe)) as vm:
        assert (await vm.run(["alone"])).stdout == b"alone\n"
    with pytest.raises(ImageError, match=r"sh: not found .* a list of words"):
        build(Recipe(source="scratch", steps=(*steps, run("ls")), folder=alone), run=machine())
    own = Recipe(source="scratch", steps=(*steps, RunStep(("alone",))), folder=alone)
    assert build(own, run=machine()).manifest.history[-1] == "run alone"


def run(text: str) -> RunStep:
    return RunStep(shell(text))


def machine(limit: int = Limits().unpacked) -> StepRunner:
    return StepRunner(limit=limit, disk="1G")


SHOW_INSTALLED = """
import demo, packaging, importlib.metadata, pathlib, subprocess
print(demo.VERSION, demo.__file__, pathlib.Path(demo.__cached__).exists())
print(packaging.VERSION, importlib.metadata.version("packaging"))
print([path for path in pathlib.Path("/").iterdir() if "wheel" in path.name], flush=True)
subprocess.run(["demo"], check=True)
"""


@pytest.mark.deadline(600)
async def test_python_packages_are_installed(
    tmp_path: Path, microvm: Command, fresh: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: dict[str | zipfile.ZipInfo, str | bytes] = {
        "demo-1.dist-info/entry_points.txt": "[console_scripts]\ndemo = demo_command:main\n",
        "demo_command.py": "def main(): print('from the command')\n",
    }
    wheel(tmp_path / "wheels", "demo", needs=["packaging>90"], files=commands)
    # Debian has an older version of this package, which pip cannot remove.
    wheel(tmp_path / "wheels", "packaging", "99")
    use_index(monkeypatch, tmp_path / "wheels")
    built = microvm(
        *("image", "build", "wheels:test", "--from", PYTHON.source),
        *(word for package in PYTHON.packages for word in ("--package", package)),
        *("--pip", "demo", "--disk", "1G", *fresh),
        cwd=tmp_path,
        timeout=600,
    )
    assert b"Successfully installed demo-1" in built.stderr, built.stderr
    done = microvm("run", "--image", "wheels:test", "--", "python3", "-c", SHOW_INSTALLED)
    assert done.stdout.decode().splitlines() == [
        "1 /usr/local/lib/python3.13/dist-packages/demo.py True",
        "99 99",
        "[]",
        "from the command",
    ], done.stderr


def test_killed_boot_of_a_step_is_repeated(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    KilledStarts(monkeypatch, starter, 1)
    shown = list[str]()
    with io.BytesIO() as layer:
        machine()(image, ["echo", "said"], shown.append, layer)
    assert "SIGKILL" in shown[0]
    assert "said" in shown[1:]


async def test_changes_of_a_step_are_in_the_image() -> None:
    made = build(
        Recipe(
            steps=(
                run("mkdir -m 750 /srv/own && echo text >/srv/own/file && chown -R 7:8 /srv/own"),
                run("cd /srv; ln own/file own/same; ln -s file own/link; mkdir gone; : >gone/file"),
                run("rm -r /srv/gone /etc/motd; mkdir /srv/gone"),
                run("test -L /srv/own/link && test $A = b && test $PWD = /srv/new && touch here"),
            ),
            env=("A=b",),
            workdir="/srv/new",
            user="nobody",
        ),
        run=machine(),
    )
    async with MicroVM(made) as vm:
        script = "cd /srv; stat -c '%n %a %u %g %h' own own/* new/here gone; ls gone; cat own/link"
        seen = await vm.run(["sh", "-c", script], text=True, user="root")
        assert seen.stdout.splitlines() == [
            *("own 750 7 8 2", "own/file 644 7 8 2", "own/link 777 0 0 1", "own/same 644 7 8 2"),
            *("new/here 644 0 0 1", "gone 755 0 0 2", "text"),
        ]
        assert (await vm.run(["id", "-un"])).stdout == b"nobody\n"
        assert (await vm.run(["test", "-e", "/etc/motd"])).returncode == 1


def test_changes_above_the_limit_are_refused_at_once() -> None:
    with pytest.raises(ImageError, match="pack exited with status 1") as caught:
        build(Recipe(steps=(run("truncate -s 200G /huge"),)), run=machine())
    assert (
        caught.value.detail
        == "pack: write huge: with this file, the changes are larger than the limit"
    )
    assert "--limit unpacked=" in caught.value.hint
    with pytest.raises(ImageError, match="wrote more than 4K") as caught:
        build(Recipe(steps=(run("mkdir -p /a/b/c/d/e/f/g/h"),)), run=machine(limit=4096))
    assert "--limit unpacked=" in caught.value.hint


def test_a_failing_command_ends_the_build(microvm: Command, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ("image", "build", "--output", output, "--disk", "64M", "--run")
    failed = microvm(
        *map(str, command), "echo said; echo told >&2; wget http://example.org; exit 3"
    )
    assert (failed.returncode, failed.stdout) == (125, b"")
    lines = failed.stderr.decode().splitlines()
    assert any("[1/1] run echo said" in line for line in lines)
    assert "said" in lines
    assert b"the step exited with status 3" in failed.stderr
    assert b"a machine has no network: install Python packages with `--pip`" in failed.stderr
    assert not output.exists()
    full = microvm(*map(str, command), "dd if=/dev/zero of=/file bs=1M count=100")
    assert b"No space left on device" in full.stderr


def test_a_signal_ends_a_step_and_leaves_nothing(tmp_path: Path) -> None:
    def there() -> set[Path]:
        return {path for name in ("images", "layers") for path in cache.folder(name).iterdir()}

    before = there()
    command = ("image", "build", "-o", str(tmp_path / "out"), "--run", "echo up; sleep 1000")
    with subprocess.Popen(
        [sys.executable, "-m", "microvm", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr
        while (line := process.stderr.readline()) != b"up\n":
            assert line
        machines = _children(process.pid)
        assert machines
        process.send_signal(signal.SIGTERM)
        assert (process.stdout and process.stdout.read(), process.wait()) == (b"", 128 + 15)
    assert not any(Path(f"/proc/{machine}").exists() for machine in machines)
    assert not list(tmp_path.iterdir())
    assert there() == before


def _children(parent: int) -> list[str]:
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return [child for task in tasks for child in (task / "children").read_text().split()]


async def test_warmed_up_state_is_in_every_start(fresh: tuple[str, str]) -> None:
    count = shell('echo "$A" >>/root/warmed')
    warm = (count, ("false",), ("nothing",), count)
    made = build(Recipe(warm=warm, env=("A=b", fresh[1])))
    said: list[str] = []
    for start in range(2):
        async with MicroVM(made, notify=said.append) as vm:
            assert vm.cloned
            assert (await vm.run(["cat", "/root/warmed"])).stdout == b"b\nb\n"
            assert [line for line in said if "warm-up" in line] == [
                "the warm-up command `false` exited with status 1",
                "the warm-up command `nothing`: nothing: not found in the guest's PATH",
            ], start
    other = build(Recipe(warm=(count,), env=("A=c",)))
    async with MicroVM(other) as vm:
        assert (await vm.run(["cat", "/root/warmed"])).stdout == b"c\n"


@pytest.mark.deadline(600)
async def test_named_ready_made_image_is_built_once(
    monkeypatch: pytest.MonkeyPatch, registry: str
) -> None:
    missing, there = "docker://127.0.0.1:9/nothing", f"docker://{registry}/app:1"
    for name, sources, says in (
        (
            "second",
            (missing, readymade.DEBIAN),
            f"image second: from packages of debian:trixie, as {missing} cannot be had (-v shows",
        ),
        ("first", (there, missing), f"image first: from {there}@sha256:"),
    ):
        warm = ("sh", "-c", ":")
        made = readymade.ReadyMade(sources, PYTHON.packages, ("python3",), warm)
        monkeypatch.setitem(readymade.IMAGES, name, made)
        assert readymade.needs_build(name, target().name)
        said: list[str] = []
        async with MicroVM(name, arch=arch_name(), notify=said.append) as vm:
            assert vm.cloned
        assert [line[: len(says)] for line in said if "image" in line] == [says]
        said.clear()
        assert not readymade.needs_build(name, target().name)
        async with MicroVM(name, arch=arch_name(), notify=said.append) as vm:
            assert vm.cloned
        assert said == []
