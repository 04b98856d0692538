"""A tool for a language model's function calls: it runs Python code and keeps the variables."""

from __future__ import annotations

import base64
import json
from typing import Any

from microvm import Cell, InterpreterDied, MachineError
from microvm.sync import Interpreter

TIMEOUT = 30  # maximum number of seconds that a call may run
MAX_TEXT = 10_000  # maximum number of characters of each text in an answer
MAX_PICTURES, MAX_PICTURE = 4, 1 << 20  # maximum number of pictures, and of bytes of each

#: The description of the tool, which the model gets. `parameters` is a JSON schema.
TOOL: dict[str, Any] = {
    "name": "python",
    "description": f"""Run Python code, for at most {TIMEOUT} seconds. There is no network.
Variables and files remain until the conversation ends. The answer contains the output, the value
of the last expression as `result`, the traceback as `error`, and figures of matplotlib as PNG.""",
    "parameters": {
        "type": "object",
        "properties": {"code": {"type": "string", "description": "The code to run"}},
        "required": ["code"],
        "additionalProperties": False,
    },
}


def call(python: Interpreter, arguments: str) -> str:
    """Run the code in a call's arguments, and return the answer. Both texts are JSON.

    :param python: The interpreter of this conversation.
    """
    try:
        code = json.loads(arguments)["code"]
        answer = describe(python.run(str(code), timeout=TIMEOUT, max_output="8M"))
    except (InterpreterDied, MachineError) as error:
        python.restart()
        answer = {"error": f"{error.message}. Variables and files are lost."}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        answer = {"error": f"the arguments are invalid: {error}"}
    return json.dumps({name: value for name, value in answer.items() if value})


def describe(cell: Cell) -> dict[str, Any]:
    """Return the answer to a call, of a limited size."""
    pngs = [png for display in cell.displays if (png := display.png) and len(png) <= MAX_PICTURE]
    return {
        "stdout": cut(cell.stdout),
        "stderr": cut(cell.stderr),
        "result": cut(cell.result or ""),
        "error": cut(cell.error.traceback if cell.error else ""),
        "timed_out": cell.timed_out,
        "pictures": [base64.b64encode(png).decode() for png in pngs[:MAX_PICTURES]],
    }


def cut(text: str) -> str:
    """Return text without its middle if it is long."""
    half = MAX_TEXT // 2
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:half]}\n({len(text) - 2 * half} characters are left out)\n{text[-half:]}"
