"""Tests of displays: the function `display`, rich values, and figures of matplotlib."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .talk import Talk, running

RICH = """
class Rich:
    def __repr__(self): return "plain"
    def _repr_html_(self): return "<b>é</b>"
    def _repr_png_(self): return b"\\x89PNG"
    def _repr_latex_(self): return None
    def _repr_json_(self): return {"a": 1}, {"expanded": True}
class Bundle:
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": "bundle", "image/png": "iVBORw==", "text/html": "<p>"}
"""
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def rich(shared: Talk) -> Talk:
    """An interpreter with classes that have several representations."""
    shared.run(RICH)
    return shared


def test_value_is_displayed_with_its_representations(rich: Talk) -> None:
    ended = rich.run("Rich()")
    assert ended.value == "plain"
    assert ended.displays == [
        ("text/html", "<b>é</b>".encode()),
        ("image/png", PNG),
        ("application/json", b'{"a": 1}'),
    ]
    assert rich.run("Bundle()").displays == [("image/png", PNG), ("text/html", b"<p>")]
    assert rich.run("Rich").displays == []


WRONG = {
    "html": "def _repr_html_(self): raise RuntimeError('no')",
    "bundle": "def _repr_mimebundle_(self): return {}",
    "no bundle": "def _repr_mimebundle_(self, include, exclude): return 1",
    "no function": "_repr_html_ = 1",
    "base64": "def _repr_png_(self): return 'x'",
    "not JSON": "def _repr_json_(self): return self",
}


@pytest.mark.parametrize("method", WRONG.values(), ids=WRONG)
def test_wrong_representation_is_left_out(rich: Talk, method: str) -> None:
    ended = rich.run(
        f"class Wrong(Rich):\n    {method}\n    def _repr_svg_(self): return '<svg>'\nWrong()"
    )
    assert ended.value == "plain"
    assert ("image/svg+xml", b"<svg>") in ended.displays
    assert "Traceback" in ended.stderr


def test_display_shows_each_object_with_its_text(rich: Talk) -> None:
    ended = rich.run("display(1, 'a', Rich(), Bundle())")
    assert ended.value is None
    assert [mime for mime, _ in ended.displays] == [
        "text/plain",
        "text/plain",
        *("text/plain", "text/html", "image/png", "application/json"),
        *("text/plain", "image/png", "text/html"),
    ]
    assert [data for _, data in ended.displays[:3]] == [b"1", b"a", b"plain"]
    assert [each.first for each in ended.shown] == [True] * 3 + [False] * 3 + [True, False, False]


def test_displays_of_threads_do_not_mix(rich: Talk) -> None:
    code = """
import threading
threads = [threading.Thread(target=display, args=(str(n) * 300_000,)) for n in range(5)]
for each in threads: each.start()
for each in threads: each.join()
"""
    shown = sorted(data for _, data in rich.run(code).displays)
    assert shown == [str(n).encode() * 300_000 for n in range(5)]


def test_display_between_cells_is_dropped(rich: Talk) -> None:
    code = """
import threading, time
event = threading.Event()
def late():
    event.wait()
    display("x" * 500_000)
    done.set()
done = threading.Event()
threading.Thread(target=late).start()
def soon():
    time.sleep(0.1)
    event.set()
threading.Thread(target=soon).start()
"""
    rich.run(code)
    ended = rich.run("done.wait(60)")
    assert ended.value == "True"
    assert ended.displays in ([], [("text/plain", b"x" * 500_000)])
    assert rich.run("display(1)").displays == [("text/plain", b"1")]


@pytest.fixture(scope="module")
def plots(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """An interpreter with matplotlib."""
    folder = tmp_path_factory.mktemp("plots")
    with running(program, sys.executable, folder) as socket, Talk(socket) as talk:
        talk.run("import matplotlib.pyplot as plt")
        yield talk


@pytest.mark.thorough
def test_open_figures_are_shown_and_closed(plots: Talk) -> None:
    ended = plots.run("plt.plot([1, 2])\nplt.figure()\nplt.plot([3]);")
    assert [mime for mime, _ in ended.displays] == ["image/png", "image/png"]
    assert all(data.startswith(b"\x89PNG\r\n") for _, data in ended.displays)
    assert plots.run("plt.get_fignums()").value == "[]"
    assert plots.run("plt.get_backend()").value == "'agg'"


@pytest.mark.thorough
def test_figures_of_a_cell_that_raises_are_shown(plots: Talk) -> None:
    ended = plots.run("plt.plot([1])\n1 / 0")
    assert ended.error == "ZeroDivisionError"
    assert [mime for mime, _ in ended.displays] == ["image/png"]
    assert plots.run("plt.show()").displays == []
