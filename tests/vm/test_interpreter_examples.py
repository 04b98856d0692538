"""Tests of the examples with an interpreter: a web page's cells, and a tool for models."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio
from tests.support.example_server import requested, serving

from microvm import Image, Interpreter, MicroVMError, sync

pytestmark = [pytest.mark.thorough, pytest.mark.deadline(120)]

ROOT = Path(__file__).parents[2]
WEB, TOOL = ROOT / "examples/interpreter", ROOT / "examples/tool"
CALLS = json.loads(Path(__file__).with_name("tool_calls.json").read_text())

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
DISPLAYS = f"""
import base64
def show(kind, data):
    functions = {{f"_repr_{{kind}}_": lambda _: data, "__repr__": lambda _: f"<b>{{kind}}</b>"}}
    display(type("Shown", (), functions)())
show("png", base64.b64decode("{PNG}"))
show("png", b"no picture")
show("html", "<i>html</i>")
"""


@pytest.fixture(scope="module")
def web() -> Iterator[ModuleType]:
    """The module `cells` of the web application, which imports the module `visitors`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(WEB)
        patch.setattr(sys, "dont_write_bytecode", True)
        import cells

        yield cells


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def visitor(web: ModuleType, with_python: Image) -> AsyncIterator[Any]:
    """A visitor of the web page, with a running interpreter."""
    async with Interpreter(image=with_python) as python:
        yield web.Visitor(python)


@pytest.fixture
def run(web: ModuleType, visitor: Any) -> Callable[[str], Any]:
    """A function that runs a cell of the visitor, and returns all events."""

    async def run(code: str) -> list[dict[str, str]]:
        return [event async for event in web.events(visitor, code)]

    return run


async def test_events_tell_output_value_and_traceback(run: Callable[[str], Any]) -> None:
    assert await run("x = 20") == []
    code = "import sys\nprint(x)\nprint('e', file=sys.stderr)\nx + 1"
    assert sorted(await run(code), key=str) == [
        {"result": "21"},
        {"stderr": "e\n"},
        {"stdout": "20\n"},
    ]
    ((name, text),) = [each for event in await run("1 / 0") for each in event.items()]
    assert (name, text.splitlines()[-1]) == ("error", "ZeroDivisionError: division by zero")


async def test_only_pictures_of_a_known_size_are_shown(
    web: ModuleType, run: Callable[[str], Any]
) -> None:
    texts = [{"stdout": f"<b>{kind}</b>\n"} for kind in ("png", "html")]
    assert await run(DISPLAYS) == [{"png": PNG}, *texts]
    png = base64.b64decode(PNG)
    assert web.is_picture(png)
    wide = png[:16] + (web.MAX_PIXELS + 1).to_bytes(4) + png[20:]
    high = png[:20] + (web.MAX_PIXELS + 1).to_bytes(4) + png[24:]
    for data in (wide, high, png[1:], b"<svg/>"):
        assert not web.is_picture(data)


async def test_interpreter_that_dies_is_started_again(run: Callable[[str], Any]) -> None:
    await run("z = 1")
    (died,) = await run("import os; os._exit(3)")
    assert "Python was started again" in died["note"]
    assert "NameError" in (await run("z"))[0]["error"]


async def test_output_beyond_the_limit_is_counted(run: Callable[[str], Any]) -> None:
    *output, note = await run("print('x' * 5_000_000, end='')")
    assert sum(len(event["stdout"]) for event in output) == 4 << 20
    assert note["note"].startswith(f"{5_000_000 - (4 << 20)} bytes")


async def test_cell_ends_when_nobody_reads_its_events(
    web: ModuleType, visitor: Any, run: Callable[[str], Any]
) -> None:
    code = """
import time
try:
    print("begun")
    while True: time.sleep(0.1)
finally:
    ended = True
"""
    async with aclosing(web.events(visitor, code)) as events:
        assert await anext(events) == {"stdout": "begun\n"}
    assert await run("ended") == [{"result": "True"}]


class FakeInterpreter:
    """An interpreter that does nothing."""

    def __init__(self, *, fails: bool = False) -> None:
        self.closed = asyncio.Event()
        self.stopped = asyncio.Event()
        self.stopped.set()
        self._fails = fails

    async def start(self) -> None:
        if self._fails:
            raise MicroVMError("no")

    async def close(self) -> None:
        self.closed.set()
        await self.stopped.wait()


async def test_idle_visitors_lose_their_interpreters(web: ModuleType) -> None:
    import visitors

    created: list[Any] = []

    def create() -> Any:
        created.append(FakeInterpreter())
        return created[-1]

    known = visitors.Visitors(create, limit=2, idle=0.2)
    async with known.open():
        _, busy = await known.add(), await known.add()
        with pytest.raises(visitors.TooManyVisitors):
            await known.add()
        visitor = known.find(busy)
        assert visitor
        with visitor.request():
            async with asyncio.timeout(60):
                await created[0].closed.wait()
            assert not created[1].closed.is_set()
            assert known.find(busy)
            await known.add()
    assert all(each.closed.is_set() for each in created)


def test_server_runs_cells_of_visitors(with_python: Image, tmp_path: Path) -> None:
    shutil.copytree(WEB, tmp_path, dirs_exist_ok=True)
    changed = f"""
import app as example
from microvm import Interpreter
example.create = lambda: Interpreter(image={str(with_python.path)!r})
example.VISITORS = 1
app = example.app
"""
    (tmp_path / "changed.py").write_text(changed)
    with serving(tmp_path, module="changed") as port:
        with requested(port, "POST", "/session") as response:
            assert response.status == 204
            cookie = str(response.getheader("set-cookie")).partition(";")[0]

        def status(method: str, path: str, body: bytes | None = None, cookie: str = cookie) -> int:
            headers = {"content-type": "application/json", "cookie": cookie}
            with requested(port, method, path, body, **headers) as response:
                return response.status

        with requested(port, "GET", "/") as page:
            assert b"Content-Security-Policy" in page.read()
        assert [status("GET", f"/{name}") for name in ("page.js", "page.css")] == [200, 200]
        assert status("GET", "/app.py") == 404
        assert status("POST", "/session") == 204  # the same visitor
        assert status("POST", "/session", cookie="session=another") == 503
        code = json.dumps({"code": "open('/data/a b').read()"}).encode()
        assert status("POST", "/cell", code, cookie="session=another") == 401
        assert status("PUT", "/files/a%20b", b"uploaded") == 204
        assert status("PUT", "/files/%2e%2e", b"uploaded") == 502
        assert status("PUT", "/files/large", bytes((8 << 20) + 1)) == 413
        assert status("POST", "/cell", json.dumps({"code": "#" * 70_000}).encode()) == 422

        headers = {"content-type": "application/json", "cookie": cookie}
        with requested(port, "POST", "/cell", code, **headers) as response:
            assert response.readline() == b'{"result": "\'uploaded\'"}\n'
        endless = "import time; print(1)\nwhile True: time.sleep(0.1)"
        code = json.dumps({"code": endless}).encode()
        begun = time.monotonic()
        with requested(port, "POST", "/cell", code, **headers) as response:
            assert json.loads(response.readline()) == {"stdout": "1\n"}  # while the cell runs
            assert status("POST", "/interrupt") == 204
            rest = [json.loads(line) for line in response]
        assert [name for event in rest for name in event] == ["error"], rest
        assert time.monotonic() - begun < 60


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_tool_answers_recorded_calls(
    calls: list[dict[str, Any]], with_python: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(TOOL)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    import tool

    monkeypatch.setattr(tool, "TIMEOUT", 2)
    with sync.Interpreter(image=with_python) as python:
        for each in calls:
            answer = json.loads(tool.call(python, each["arguments"]))
            if "error" in answer:  # only the last line of a traceback
                answer["error"] = answer["error"].strip().rpartition("\n")[2]
            assert answer == each["answer"]
