"""Compiles and executes the code of cells, and describes their errors."""

from __future__ import annotations
import __future__

import _ast
import builtins
import linecache
import traceback

from interpreter.codec import cut
from interpreter.display import Displays
from interpreter.tables import MAX_TEXT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import CodeType
    from typing import Any

ONLY_AST = 0x400
"""The flag `ast.PyCF_ONLY_AST` of `compile`. It is copied because importing `ast` takes long."""

TOP_LEVEL_AWAIT = 0x2000
"""The flag `ast.PyCF_ALLOW_TOP_LEVEL_AWAIT` of `compile`."""

COROUTINE = 0x80
"""The flag `inspect.CO_COROUTINE` of a code object."""

FUTURES = 0
for _feature in __future__.all_feature_names:
    FUTURES |= getattr(__future__, _feature).compiler_flag

PREFIX = "<cell "
"""The beginning of the file name of each cell."""

MOST_TRACEBACK = 32768
"""Maximum number of bytes of a traceback."""


class Cells:
    """Executes cells, which share their global variables and their event loop.

    :ivar namespace: The global variables.
    :ivar count: Number of cells so far, which is the number of the last cell in tracebacks.
    """

    def __init__(self, namespace: dict[str, Any], displays: Displays) -> None:
        self.namespace = namespace
        self._displays = displays
        self._flags = TOP_LEVEL_AWAIT
        self._sources: dict[str, Any] = linecache.cache
        self.count = 0
        self._loop: Any = None
        self._traceback: Any = None  # traceback of the last error in a cell that awaits

    def execute(self, code: bytes) -> bytes | None:
        """Execute a cell. Return the value of its last expression as `repr` shows it, or None."""
        self.count += 1
        source = code.decode()
        name = f"{PREFIX}{self.count}>"
        self._sources[name] = len(source), None, source.splitlines(True), name
        tree = compile(source, name, "exec", self._flags | ONLY_AST, True)
        last = None
        if tree.body and type(tree.body[-1]) is _ast.Expr and source.rstrip()[-1] != ";":
            last = _ast.Expression(tree.body.pop().value)
        codes = [self._compile(tree, name, "exec")] if tree.body else []
        if last:
            codes.append(self._compile(last, name, "eval"))
        value = self._evaluate(codes)
        if value is None:
            return None
        builtins._ = value  # type: ignore[attr-defined]
        self._displays.show_value(value)
        return cut(repr(value), MAX_TEXT)

    def _compile(self, tree: Any, name: str, mode: str) -> CodeType:
        code: CodeType = compile(tree, name, mode, self._flags, True)
        self._flags |= code.co_flags & FUTURES
        return code

    def _evaluate(self, codes: list[CodeType]) -> Any:
        """Execute the code objects of a cell, and return the value of the last one."""
        value = None
        for code in codes:
            if code.co_flags & COROUTINE:
                return self._wait(self._evaluate_async(codes))
        for code in codes:
            value = eval(code, self.namespace)
        return value

    async def _evaluate_async(self, codes: list[CodeType]) -> Any:
        """Execute the code objects of a cell in the event loop, because one of them awaits."""
        value = None
        try:
            for code in codes:
                value = eval(code, self.namespace)
                if code.co_flags & COROUTINE:
                    value = await value
        except BaseException as error:
            self._traceback = error.__traceback__
            raise
        return value

    def _wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine in the event loop of all cells."""
        import asyncio

        if self._loop is None or self._loop.is_closed():
            self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        except BaseException as error:
            if task.done():
                raise
            # An interrupt stops the event loop, but the task still exists.
            task.cancel()
            try:
                self._loop.run_until_complete(task)
            except asyncio.CancelledError:
                # Show the interrupted line of the cell instead of a line of the event loop. Before
                # Python 3.11, the traceback of the CancelledError lacks the line of the cell.
                error.__traceback__ = self._traceback
            raise error from None
        finally:
            self._traceback = None


def class_name(error: BaseException) -> str:
    """Return the name of an error's class, with its module unless that is `builtins`."""
    kind = type(error)
    module = kind.__module__
    return f"{kind.__qualname__}" if module == "builtins" else f"{module}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """Return the message of an error."""
    return str.__str__(str(error))


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an error, without the frames of this program."""
    shown = traceback.TracebackException(type(error), error, error.__traceback__)
    chain: list[Any] = [shown]
    for each in chain:  # the loop extends this list
        remove_own_frames(each.stack)
        chain += filter(None, (each.__cause__, each.__context__))
        chain += getattr(each, "exceptions", None) or ()
    text = "".join(shown.format())
    if len(text) > MOST_TRACEBACK // 4:
        data = cut(text, 1 << 30)
        if len(data) > MOST_TRACEBACK:
            start = data[: MOST_TRACEBACK // 4].decode("utf-8", "ignore")
            end = data[-MOST_TRACEBACK // 2 :].decode("utf-8", "ignore")
            text = f"{start}\n…\n{end}"
    return text


def remove_own_frames(stack: Any) -> None:
    """Remove the frames of this program, and all frames before those of the first cell."""
    own = class_name.__code__.co_filename
    start = 0
    for at, frame in enumerate(stack):
        if frame.filename.startswith(PREFIX):
            start = at
            break
    else:
        start = len(stack) if stack and stack[0].filename == own else 0
    stack[:] = [frame for frame in stack[start:] if frame.filename != own]
