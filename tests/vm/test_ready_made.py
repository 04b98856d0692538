"""Tests of the ready-made images that are built from Debian's packages."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from tests.support.target import build
from tests.support.wheels import wheel

from microvm import MicroVM
from microvm.images import Image, readymade
from microvm.machine.hints import wants_network
from microvm_image.recipe import Recipe

pytestmark = [pytest.mark.thorough, pytest.mark.long, pytest.mark.deadline(600)]


COMMAND: dict[str | zipfile.ZipInfo, str | bytes] = {
    "demo_command.py": "def main():\n    print('demo')\n",
    "demo-1.dist-info/entry_points.txt": "[console_scripts]\ndemo = demo_command:main\n",
}

#: Shell commands that use the programs of `agent`.
SCRIPTS = {
    "gcc": "echo 'int main(void) { return 7; }' >a.c; make a; ./a; [ $? = 7 ]",
    "pytest": "echo 'def test_a(): assert 1 + 1 == 2' >test_a.py; pytest -q | grep '1 passed'",
    "git": "git init -q; echo found >f; git add f; git -c user.name=a -c user.email=b commit -qm c"
    " && git log --format=%s | grep c && rg found && curl --version",
    "plot": 'python3 -c \'import matplotlib; matplotlib.use("Agg"); import numpy, pandas;'
    ' pandas.DataFrame({"a": numpy.arange(3)}).plot().figure.savefig("a.png")\''
    " && file a.png | grep PNG",
    "tmux": "tmux new-session -d 'echo a >said; sleep 60'; until [ -s said ]; do sleep 0.1; done",
    "node": "node -e 'console.log(JSON.stringify({a: 1}))' | jq -e '.a == 1'",
}


def from_debian(name: str) -> Image:
    """Build a ready-made image. The image of this name in the cache may be of an older version."""
    made = readymade.IMAGES[name]
    recipe = Recipe(source=readymade.DEBIAN, packages=made.packages, warm=(made.warm,))
    return build(recipe)


@pytest.fixture(scope="module", params=["python", "agent"])
def with_python(request: pytest.FixtureRequest) -> Image:
    return from_debian(request.param)


@pytest.mark.parametrize("name", readymade.IMAGES)
async def test_image_contains_its_commands(name: str) -> None:
    async with MicroVM(from_debian(name)) as vm:
        for command in readymade.IMAGES[name].commands:
            assert (await vm.run(["which", command])).returncode == 0, command


@pytest.mark.parametrize(
    ("pip", "demo"),
    [("pip", "demo"), ("python3 -m venv v && v/bin/pip", "v/bin/demo")],
    ids=["system", "venv"],
)
async def test_python_installs_a_wheel(
    with_python: Image, tmp_path: Path, pip: str, demo: str
) -> None:
    path = wheel(tmp_path, "demo", files=COMMAND)
    async with MicroVM(with_python) as vm:
        await vm.put(path, "/root/")
        install = f"{pip} install -q --no-index /root/{path.name} && {demo}"
        done = await vm.run(["sh", "-c", install], text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "demo\n", "")


async def test_debian_knows_its_host_name_users_and_processes(with_python: Image) -> None:
    script = (
        "hostname; getent hosts $(hostname); ps -e -o comm= | head -1\n"
        "adduser --disabled-password --gecos '' me >/dev/null && su me -c 'id -un; ps x -o comm='"
    )
    async with MicroVM(with_python) as vm:
        done = await vm.run(["sh", "-c", script], text=True, check=True)
    names = done.stdout.split()
    assert names == ["microvm", "127.0.0.1", "microvm", "sandboxd", "me", "ps"]


async def test_installers_do_not_retry_without_a_network(with_python: Image) -> None:
    async with MicroVM(with_python) as vm:
        pip = await vm.run(["pip", "install", "demo"], text=True)
        apt = await vm.run(["apt-get", "update"], text=True)
    assert pip.stderr.count("Retrying") == 1
    assert "Ign:" not in apt.stdout
    assert "Err:" in apt.stdout


@pytest.mark.parametrize(
    "script",
    [
        "pip install demo",
        "apt-get update && apt-get install -y hello",
        "curl https://example.org/",
        "git clone https://example.org/x.git",
        "python3 -c 'import urllib.request as r; r.urlopen(\"http://example.org/\")'",
        "node -e 'fetch(\"http://example.org/\").catch(error => { throw error.cause })'",
    ],
)
async def test_programs_say_that_they_want_a_network(script: str) -> None:
    async with MicroVM(from_debian("agent")) as vm:
        done = await vm.run(["sh", "-c", script])
    assert done.returncode != 0
    assert wants_network(done.stderr[-4096:]), done.stderr


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_programs_of_agent_work_with_the_default_memory(script: str) -> None:
    async with MicroVM(from_debian("agent")) as vm:
        done = await vm.run(["bash", "-c", script], text=True)
    assert done.returncode == 0, done.stdout + done.stderr
