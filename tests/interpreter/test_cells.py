"""Tests of cells: their values, output, errors, input and variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from microvm.wire import interpreter as wire
from microvm.wire.interpreter import CellEnding

from .talk import Talk

VALUES = {
    "1 + 1": "2",
    "x = 5": None,
    "None": None,
    "": None,
    "# nothing": None,
    "x = 5\nx": "5",
    "7;": None,
    "7; 8 ; ": None,
    "'a'": "'a'",
    "'one'\n'two'": "'two'",
    "'\\ud800'": "'\\ud800'",
    "def f():\n    return 3\nf()": "3",
    "class A: pass\nA.__module__": "'__main__'",
    "__name__": "'__main__'",
    "import sys; sys.argv": "['']",
    "import sys; sys.modules['__main__'].__dict__ is globals()": "True",
    "import sys; sys.path[0]": "''",
    "[await_ for await_ in 'ab']": "['a', 'b']",
}


@pytest.mark.parametrize("code", VALUES, ids=repr)
def test_value_is_that_of_the_last_expression(shared: Talk, code: str) -> None:
    assert shared.run(code).value == VALUES[code]


def test_variables_survive_cells_and_errors(talk: Talk) -> None:
    talk.run("x = [1]\ndef add(n): x.append(n)")
    assert talk.run("add(2)\n1 / 0").error == "ZeroDivisionError"
    assert talk.run("x").value == "[1, 2]"
    assert talk.run("_").value == "[1, 2]"


def test_long_code_and_values_are_sent_in_pieces(talk: Talk) -> None:
    text = "é" * 100_000
    assert talk.run(f"x = '{text}'\nx").value == f"'{text}'"
    value = talk.run("'x' * 5_000_000").value
    assert value is not None
    assert len(value.encode()) <= wire.MAX_TEXT
    assert value.endswith("x…")


def test_output_is_sent_while_it_is_written(talk: Talk) -> None:
    talk.start("print('first')\ninput()\nprint('second', end='')\n")
    first = talk.finish(until=lambda answered: bool(answered.stdout))
    assert first.stdout == "first\n"
    assert talk.finish(lambda _: "").stdout == "second"


def test_output_of_threads_arrives_before_the_result(talk: Talk) -> None:
    code = """
import os, subprocess, sys, threading
print("begin")
thread = threading.Thread(target=print, args=("thread",))
thread.start(); thread.join()
subprocess.run(["echo", "child"])
os.write(1, b"raw\\n")
sys.stderr.write("problem")
print("end", end="")
"""
    for _ in range(20):
        ended = talk.run(code)
        assert ended.stdout == "begin\nthread\nchild\nraw\nend"
        assert ended.stderr == "problem"


@pytest.mark.thorough
@pytest.mark.parametrize("window", [1000, 1 << 18])
def test_long_output_arrives_before_the_result(path: Path, window: int) -> None:
    with Talk(path, window) as talk:
        ended = talk.run("import os\nfor n in range(30):\n    os.write(1, b'%05d' % n * 1000)\nn")
        assert ended.stdout == "".join(f"{n:05d}" * 1000 for n in range(30))
        assert ended.value == "29"


def test_traceback_shows_the_lines_of_cells_only(talk: Talk) -> None:
    talk.run("def divide(n):\n    return 1 / n")
    shown = talk.run("# a comment\ndivide(0)").result.traceback
    lines = [line for line in shown.splitlines() if "^" not in line]
    assert lines == [
        "Traceback (most recent call last):",
        '  File "<cell 2>", line 2, in <module>',
        "    divide(0)",
        '  File "<cell 1>", line 2, in divide',
        "    return 1 / n",
        "ZeroDivisionError: division by zero",
    ]


def test_syntax_error_shows_the_line(talk: Talk) -> None:
    result = talk.run("x = 1\ny = (").result
    assert result.error_type == "SyntaxError"
    assert '  File "<cell 1>", line 2\n    y = (\n' in result.traceback
    assert "Traceback" not in result.traceback
    assert talk.run("x").error == "NameError"


def test_cells_of_the_preparation_do_not_count(path: Path) -> None:
    with Talk(path) as talk:
        talk.run("import json")
        for number in (1, 2):
            talk.ask(wire.Renew(bytes(32)))
            assert f'File "<cell {number}>"' in talk.run("1 / 0").result.traceback


def test_long_traceback_is_cut_in_the_middle(talk: Talk) -> None:
    result = talk.run(
        "def f(n): raise ValueError('é' * 100_000) if not n else g(n)\ndef g(n): f(n - 1)\nf(100)"
    ).result
    assert len(result.traceback.encode()) <= 32768
    assert result.traceback.startswith("Traceback")
    assert result.traceback.endswith("éé\n")
    assert len(result.error_message.encode()) <= 8192


def test_recursion_is_an_error(talk: Talk) -> None:
    assert talk.run("def f(): f()\nf()").error == "RecursionError"
    code = "x = []\nfor _ in range(100_000): x = [x]\nx"
    assert talk.run(code).error == "RecursionError"
    assert talk.run("1").value == "1"


@pytest.mark.thorough
@pytest.mark.parametrize(("code", "status"), [("exit()", 0), ("exit(3)", 3), ("exit('bye')", 1)])
def test_exit_ends_the_cell_but_not_the_interpreter(talk: Talk, code: str, status: int) -> None:
    talk.run("x = 1")
    result = talk.run(code).result
    assert (result.ending, result.status) == (CellEnding.EXITED, status)
    assert result.error_type == "SystemExit"
    assert talk.run("x").value == "1"
    assert talk.run("input()", lambda _: "still").value == "'still'"


def test_top_level_await(talk: Talk) -> None:
    talk.run("import asyncio")
    code = "q = asyncio.Queue()\ntask = asyncio.create_task(q.get())\nawait asyncio.sleep(0)"
    assert talk.run(code).value is None
    assert talk.run("await q.put(7)\nawait task").value == "7"
    assert talk.run("async with asyncio.Lock(): y = 1\ny").value == "1"
    error = talk.run("async def f():\n    raise KeyError(1)\nawait f()").result
    assert error.error_type == "KeyError"
    assert error.traceback.splitlines()[1] == '  File "<cell 5>", line 3, in <module>'
    assert "asyncio" not in error.traceback


def test_input_is_answered_or_refused(talk: Talk) -> None:
    code = (
        "import getpass, sys\n[input('name? '), getpass.getpass('secret? '), sys.stdin.readline()]"
    )
    ended = talk.run(code, lambda ask: ask.prompt.upper())
    assert ended.value == "['NAME? ', 'SECRET? ', '\\n']"
    assert [(each.secret, each.prompt) for each in ended.questions] == [
        (False, "name? "),
        (True, "secret? "),
        (False, ""),
    ]
    assert talk.run("input()").error == "EOFError"
    assert talk.run("import sys\nsys.stdin.read() + sys.stdin.readline()").value == "''"
    assert talk.run("import subprocess\nsubprocess.run('cat').returncode").value == "0"


def test_input_is_refused_in_threads_and_children(talk: Talk) -> None:
    code = """
import os, threading
found = []
def ask():
    try:
        input()
    except EOFError:
        found.append(1)
thread = threading.Thread(target=ask)
thread.start(); thread.join()
if os.fork() == 0:
    ask()
    os._exit(len(found))
os.WEXITSTATUS(os.wait()[1]), found
"""
    assert talk.run(code).value == "(2, [1])"


VALUES_IN_JSON = ["1", '"\\u00e9"', '{"a": [1, 2.5, null, true]}', "[]", "NaN"]


@pytest.mark.parametrize("json", VALUES_IN_JSON)
def test_variables_are_set_and_read_as_json(shared: Talk, json: str) -> None:
    assert shared.ask(wire.Assign("x", 0, json.encode())).last == wire.Done()
    assert shared.ask(wire.Fetch("x")).text == json


def test_long_json(talk: Talk) -> None:
    talk.run("x = 'a' * 1_000_000")
    text = talk.ask(wire.Fetch("x")).text
    assert text == '"' + "a" * 1_000_000 + '"'
    data = text.encode()
    for at in range(0, 1_000_000, 50_000):
        talk.send(wire.Piece(at, data[at : at + 50_000]))
    assert talk.ask(wire.Assign("y", 1_000_000, data[1_000_000:])).last == wire.Done()
    assert talk.run("x == y").value == "True"


BAD: dict[str, tuple[wire.Message, str]] = {
    "missing": (wire.Fetch("nope"), "NameError"),
    "no JSON": (wire.Fetch("thing"), "TypeError"),
    "too deep": (wire.Fetch("deep"), "RecursionError"),
    "too long": (wire.Fetch("long"), "ValueError"),
    "no name": (wire.Assign("a b", 0, b"1"), "ValueError"),
    "no value": (wire.Assign("x", 0, b"{"), "json.decoder.JSONDecodeError"),
    "no UTF-8": (wire.Assign("x", 0, b"\xff"), "UnicodeDecodeError"),
}


@pytest.mark.parametrize("case", BAD)
def test_values_that_are_refused(shared: Talk, case: str) -> None:
    shared.run(
        "thing = object(); deep = []; long = 'a' * 5_000_000\n"
        "for _ in range(100_000): deep = [deep]"
    )
    message, error = BAD[case]
    failed = shared.ask(message).last
    assert isinstance(failed, wire.Failed)
    assert failed.error_type == error
    assert shared.run("1").value == "1"


@pytest.mark.thorough
@pytest.mark.parametrize("module", ["random", "numpy.random"])
def test_renewed_interpreters_differ(talk: Talk, module: str) -> None:
    if talk.run(f"import ssl, {module}").result.ending is not CellEnding.COMPLETED:
        pytest.skip(f"this Python lacks {module}")
    drawn = []
    for seed in (bytes(32), bytes(31) + b"\1", bytes(32)):
        assert talk.ask(wire.Renew(seed)).last == wire.Done()
        drawn.append(talk.run(f"{module}.random()").value)
    assert drawn[0] == drawn[2] != drawn[1]
