"""Tests of interpreters with the Python versions of older releases of Debian, in real machines."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.target import build

from microvm import Image, Interpreter, InterpreterDied
from microvm_image.recipe import Recipe

pytestmark = [pytest.mark.thorough, pytest.mark.long, pytest.mark.deadline(600)]

#: The version of Python in each release of Debian.
VERSIONS = {"bullseye": "3.9", "bookworm": "3.11"}

#: A cell that does not end: it and its child ignore the first interrupt.
STUBBORN = """
import subprocess
child = subprocess.Popen(["sh", "-c", "trap '' INT; while :; do sleep 1; done"])
while child.poll() is None:
    try:
        child.wait()
    except KeyboardInterrupt:
        pass
"""

PICTURE = """
class Picture:
    def _repr_png_(self): return b"\\x89PNG"
Picture()
"""


@pytest.fixture(scope="module", params=list(VERSIONS))
def suite(request: pytest.FixtureRequest) -> str:
    """The name of a release of Debian."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def older(suite: str) -> Image:
    """An image of this release with its Python."""
    return build(Recipe(source=f"debian:{suite}", packages=("python3",)))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def python(older: Image) -> AsyncIterator[Interpreter]:
    """A running interpreter that the tests share."""
    async with Interpreter(image=older, imports=["json", "random"]) as python:
        yield python


async def test_cells_of_an_older_python(python: Interpreter, suite: str) -> None:
    cell = await python.run("import sys; print('%d.%d' % sys.version_info[:2]); 6")
    assert (cell.stdout, cell.result) == (f"{VERSIONS[suite]}\n", "6")
    code = (
        "import asyncio, subprocess; subprocess.run(['echo', 'child'])\nawait asyncio.sleep(0, 7)"
    )
    cell = await python.run(code)
    assert (cell.stdout, cell.result) == ("child\n", "7")
    [display] = (await python.run(PICTURE)).displays
    assert display.png == b"\x89PNG"
    cell = await python.run("input('name? ')", on_input=lambda prompt, _: prompt.upper())
    assert cell.result == "'NAME? '"
    await python.set("given", {"é": [1, None]})
    assert await python.get("given") == {"é": [1, None]}
    cell = await python.run("def f():\n    return 1 / 0\nf()")
    assert cell.error is not None
    assert "    return 1 / 0\n" in cell.error.traceback


async def test_time_outs_of_an_older_python(python: Interpreter) -> None:
    await python.run("kept = 1")
    cell = await python.run("while True: pass", timeout=0.5)
    assert cell.error is not None
    assert (cell.error.type, cell.timed_out, cell.killed) == ("KeyboardInterrupt", True, False)
    cell = await python.run("import asyncio\n\nawait asyncio.sleep(1000)", timeout=0.5)
    assert cell.error is not None
    assert '>", line 3, in <module>' in cell.error.traceback
    cell = await python.run(STUBBORN, timeout=2, grace=5)
    assert (cell.ok, cell.timed_out, cell.killed) == (True, True, True)
    assert (await python.run("kept, child.returncode")).result == "(1, -9)"


async def test_forks_of_an_older_python(python: Interpreter) -> None:
    await python.run("kept = 2; random.seed(1)")
    async with await python.fork(2) as forks:
        drawn = [(await fork.run("random.random()")).result for fork in forks]
        assert drawn[0] != drawn[1]
        with pytest.raises(InterpreterDied, match="exited with status 3"):
            await forks[0].run("import os; os._exit(3)")
        await forks[0].restart()
        assert [await fork.get("kept") for fork in forks] == [2, 2]
