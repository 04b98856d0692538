"""Tests of the executor for smolagents: what its own tests expect of the Docker executor, and more.

The tests of the first class express cases of `TestDockerExecutorIntegration` in
tests/test_remote_executors.py of smolagents 1.26.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy
import pytest
from PIL import Image
from smolagents import AgentLogger, FinalAnswerTool, LogLevel, Model, tool
from smolagents.models import ChatMessage, MessageRole
from smolagents.serialization import SafeSerializer, SerializationError
from smolagents.utils import AgentError
from tests.frameworks.pages import names_of

from microvm.frameworks.smolagents import MicroVMExecutor
from microvm.frameworks.smolagents_answer import decoded

QUIET = AgentLogger(LogLevel.OFF)


@pytest.fixture
def executor() -> Iterator[MicroVMExecutor]:
    """An executor with the tool for the final answer."""
    with MicroVMExecutor(logger=QUIET) as executor:
        executor.send_tools({"final_answer": FinalAnswerTool()})
        yield executor


def picture(kind: str, width: int) -> dict[str, str]:
    """Return a square picture of a format as the guest sends it."""
    file = io.BytesIO()
    Image.new("L", (width, width)).save(file, kind)
    return {"__type__": "PIL.Image", "data": base64.b64encode(file.getvalue()).decode()}


class TestDockerCases:
    def test_initialization(self, executor: MicroVMExecutor) -> None:
        assert executor.python.vm.pid

    def test_state_persistence(self, executor: MicroVMExecutor) -> None:
        executor("import numpy as np\nnumber = 2")
        assert executor("print(np.sqrt(number))").logs.startswith("1.41421")

    @pytest.mark.parametrize(
        ("code", "answer"),
        [
            ("final_answer('the end')", "the end"),
            ("result = 'the end'\nfinal_answer(result)", "the end"),
            ("final_answer('''three\nshort\nlines''')", "three\nshort\nlines"),
            ("text = '''with\nfinal_answer(5)\n'''\nfinal_answer(text)", "with\nfinal_answer(5)\n"),
            ("if 0:\n    final_answer(1)\nelif 2:\n    final_answer('two')", "two"),
        ],
    )
    def test_final_answer_patterns(self, executor: MicroVMExecutor, code: str, answer: str) -> None:
        output = executor(code)
        assert output.is_final_answer
        assert output.output == answer

    def test_execute_image_output(self, executor: MicroVMExecutor) -> None:
        code = "from PIL import Image\nfinal_answer(Image.new('RGB', (10, 10), (255, 0, 0)))"
        answer = executor(code).output
        assert isinstance(answer, Image.Image)
        assert answer.getpixel((9, 9)) == (255, 0, 0)

    def test_syntax_error_handling(self, executor: MicroVMExecutor) -> None:
        with pytest.raises(AgentError, match="SyntaxError"):
            executor('print("no end')

    def test_custom_final_answer_with_custom_inputs(self, executor: MicroVMExecutor) -> None:
        class WithInputs(FinalAnswerTool):  # type: ignore[misc]
            inputs: ClassVar[dict[str, Any]] = {
                "first": {"type": "string", "description": "First part of the answer."},
                "second": {"type": "string", "description": "Second part of the answer."},
            }

            def forward(self, first: str, second: str) -> str:
                return first + "CUSTOM" + second

        executor.send_tools({"final_answer": WithInputs()})
        output = executor("final_answer(first='a', second='b')")
        assert (output.is_final_answer, output.output) == (True, "aCUSTOMb")

    def test_cleanup_on_deletion(self, executor: MicroVMExecutor) -> None:
        pid = executor.python.vm.pid
        assert pid
        executor.cleanup()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_large_answers_arrive_complete(executor: MicroVMExecutor) -> None:
    assert executor("final_answer('x' * 1_000_000)").output == "x" * 1_000_000


def test_answers_are_never_unpickled(executor: MicroVMExecutor) -> None:
    executor("class FinalAnswerException(Exception):\n    value = 'pickle:gASVAAAA'")
    executor("_microvm_answer = 'pickle:gASVAAAA'")
    with pytest.raises(Exception, match="Pickles are rejected"):
        executor("raise FinalAnswerException('pickle:gASVAAAA')")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"__type__": "ndarray", "data": ["a"] * 40, "dtype": "S10000000"}, "array"),
        ({"__type__": "ndarray", "data": ["a" * 1000, *"abc"], "dtype": None}, "array"),
        ({"__type__": "ndarray", "data": [[0, "1"]], "dtype": "int64"}, "array"),
        ({"__type__": "ndarray", "data": [0] * 40, "dtype": "10000000i8"}, "array"),
        ([picture("EPS", 10)], "no PNG"),
        ([picture("GIF", 10)], "no PNG"),
        ([picture("PNG", 6000)], "pixels"),
    ],
)
def test_answers_cannot_fill_the_memory(answer: Any, error: str) -> None:
    with pytest.raises(SerializationError, match=error):
        decoded(f"safe:{json.dumps(answer)}")


def test_numbers_and_pictures_are_decoded() -> None:
    arrays = [
        numpy.array([[1, 2], [3, 4]], dtype) for dtype in ("?", ">i2", "uint8", "f4", "float64")
    ]
    answer = {"arrays": arrays, "picture": (Image.new("1", (10, 20)), None)}
    found = decoded(SafeSerializer.dumps(answer))
    assert found["picture"][0].size == (10, 20)
    for array, copy in zip(arrays, found["arrays"], strict=True):
        assert copy.dtype == array.dtype
        assert copy.tolist() == array.tolist()


def test_dead_interpreter_is_started_again_with_its_tools(executor: MicroVMExecutor) -> None:
    for number in (1, 2, 1):
        executor.send_variables({"given": ("a", number)})
    executor("lost = 1")
    with pytest.raises(AgentError, match=r"farewell\n.*exited with status 3[^$]*started again"):
        executor("print('farewell', flush=True)\nimport os\nos._exit(3)")
    with pytest.raises(AgentError, match="NameError"):
        executor("lost")
    assert executor("final_answer(given)").output == ("a", 1)


def test_time_limit_is_reported_and_keeps_variables(executor: MicroVMExecutor) -> None:
    executor("import importlib.util, time\nkept = 1")
    executor._timeout = 1
    with pytest.raises(AgentError, match="exceeded the time limit of 1"):
        executor("while True: pass")
    executor._timeout = 60
    assert executor("kept").output == "1"
    executor("importlib.util.find_spec = lambda _: time.sleep(60)")
    executor._timeout = 1
    with pytest.raises(AgentError, match="exceeded the time limit of 1"):
        executor.install_packages(["absent"])


def test_missing_module_of_a_tool_is_named(executor: MicroVMExecutor) -> None:
    @tool  # type: ignore[untyped-decorator]
    def shout(text: str) -> str:
        """Return the text in capitals.

        Args:
            text: The text.
        """
        from absent import louder  # type: ignore[import-not-found]

        return str(louder(text))

    with pytest.raises(AgentError, match=r"additional_imports=\['absent'\]"):
        executor.send_tools({"shout": shout})


class CodeModel(Model):  # type: ignore[misc]
    """A model that answers with the given pieces of code, and stores what it was asked."""

    def __init__(self, *pieces: str) -> None:
        super().__init__()
        self.pieces = list(pieces)
        self.asked: list[str] = []

    def generate(self, messages: list[ChatMessage], **_: Any) -> ChatMessage:
        self.asked.append(str(messages[-1].content))
        text = f"Thought: run it.\n<code>\n{self.pieces.pop(0)}\n</code>"
        return ChatMessage(role=MessageRole.ASSISTANT, content=text)


def test_example_of_the_page_answers() -> None:
    model = CodeModel("1 / 0", "import math\nx = 6, 7", "final_answer(math.prod(x))")
    assert names_of("smolagents")["answer"](model, "What is 6 times 7?") == 42
    assert "ZeroDivisionError" in model.asked[1]
