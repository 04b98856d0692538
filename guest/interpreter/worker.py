"""The worker: the process that executes the host's requests, one at a time, in its main thread."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # `signal` imports `enum`
import builtins
import os
import sys

from interpreter.cell import Cells, class_name, message_of, traceback_of
from interpreter.channel import Channel, KeeperExited
from interpreter.display import Displays
from interpreter.links import InterruptMark
from interpreter.questions import Input, Questions
from interpreter.tables import (
    CELL_ENDING_COMPLETED,
    CELL_ENDING_EXITED,
    CELL_ENDING_RAISED,
    MAX_TEXT,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


class Worker:
    """Executes requests.

    :ivar armed: True while code of a cell can run, so that SIGINT raises KeyboardInterrupt.
    :ivar count: Number of requests so far.
    :ivar pieces: Pieces of a text that a later message completes.
    :ivar is_answered: True if the last request has been answered.
    :ivar is_renewed: True after the first request to seed the random number generators.
    :ivar interrupted: Number of the last request in which KeyboardInterrupt was raised.
    """

    def __init__(self, channel: Channel, mark: InterruptMark, namespace: dict[str, Any]) -> None:
        self.channel = channel
        self.mark = mark
        self.namespace = namespace
        self.displays = Displays(channel)
        self.cells = Cells(namespace, self.displays)
        self.armed = False
        self.count = 0
        self.interrupted = 0
        self.pieces: list[bytes] = []
        self.is_answered = True
        self.is_renewed = False
        self.streams = sys.stdout, sys.stderr
        self.requests: dict[str, Callable[[list[Any], bytes], None]] = {
            "run": self.run,
            "assign": self.assign,
            "fetch": self.fetch,
            "renew": self.renew,
        }

    def serve(self) -> None:
        """Execute requests until the keeper has exited."""
        handlers = {_signal.SIGINT: self.on_interrupt, _signal.SIGURG: self.on_wakeup}
        while True:
            try:
                self.restore(handlers)
                self.channel.wait()
            except KeeperExited:
                return
            except BaseException as error:
                # The socket is closed, or a signal handler of an earlier cell raised the exception.
                if isinstance(error, OSError) and error.errno:
                    return
                self.guard(self.show, error)
            message = self.channel.message()
            if message:
                self.execute(*message)
            if not self.channel.is_owner():
                os._exit(0)  # this is a child process that a cell has forked from the worker

    def restore(self, handlers: Mapping[Any, Callable[[int, Any], None]]) -> None:
        """Undo changes to signals and descriptors by a cell that would disturb the next cells."""
        for number, handler in handlers.items():
            if _signal.getsignal(number) is not handler:
                _signal.signal(number, handler)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, handlers)
        for fd in (1, 2, self.channel.fd):
            try:
                os.set_blocking(fd, True)
            except OSError:
                pass  # a cell has closed it

    def execute(self, name: str, values: list[Any]) -> None:
        """Execute a message of the host."""
        if name == "piece":
            if values[0] == 0:
                self.pieces.clear()
            self.pieces.append(values[1])
        if name not in self.requests:
            return
        self.count += 1
        self.is_answered = False
        text = values[-1]
        if self.pieces:
            text = b"".join(self.pieces) + text if values[-2] else text
            self.pieces.clear()
        try:
            self.requests[name](values, text)
        except BaseException as error:
            # A signal handler of a cell has raised the exception.
            if self.is_answered:
                self.guard(self.show, error)
            elif name == "run":
                self.send_result(None, error)
            else:
                self.answer(None, error)

    def on_interrupt(self, number: int, frame: Any) -> None:
        """Raise KeyboardInterrupt if code of a cell runs."""
        if self.armed and frame.f_code is not Worker.disarm.__code__:
            self.interrupted = self.count
            raise KeyboardInterrupt

    def on_wakeup(self, number: int, frame: Any) -> None:
        """Do nothing. The signal has ended a wait, so Python can run the handler of SIGINT."""

    def guard(self, function: Callable[..., Any], *arguments: Any) -> tuple[Any, Any]:
        """Call a function that may run code of a cell. Return its value, and its error or None."""
        try:
            try:
                self.armed = True
                if self.mark.get() == self.count != self.interrupted:
                    self.on_interrupt(_signal.SIGINT, sys._getframe())
                return function(*arguments), None
            finally:
                self.disarm()
        except BaseException as error:
            self.disarm()  # a signal or a trace function can have interrupted `finally`
            return None, error

    def disarm(self) -> None:
        """Protect the code of this program from signals, and from trace functions of cells."""
        self.armed = False
        sys.setprofile(None)
        sys.settrace(None)

    def run(self, values: list[Any], code: bytes) -> None:
        """Execute a cell."""
        value, error = self.guard(self.cells.execute, code)
        if not isinstance(error, KeyboardInterrupt):
            _, failure = self.guard(self.displays.show_figures)
            error = failure if error is None else error
        self.send_result(value, error)

    def send_result(self, value: bytes | None, error: BaseException | None) -> None:
        """Answer a request to execute a cell.

        A child that the cell has forked sends no answer. It does not describe its error either,
        because the tracebacks of 1,000 such children would take most of the processor time.
        """
        if not self.channel.is_owner():
            self.guard(self.flush)
            return
        ending, status, text = CELL_ENDING_COMPLETED, 0, ["", "", ""]
        if error is not None:
            value = None
            ending = CELL_ENDING_RAISED
            text = self.describe(error, traceback_of)
            if isinstance(error, SystemExit):
                ending = CELL_ENDING_EXITED
                status = exit_status(error)
        self.guard(self.flush)
        fields = ending, status, value is not None, *text
        self.channel.send_text("result", fields, value or b"")
        self.is_answered = True

    def show(self, error: BaseException) -> None:
        """Write the traceback of an error that belongs to no cell."""
        self.streams[1].write(traceback_of(error))
        self.streams[1].flush()

    def describe(self, error: BaseException, *more: Callable[[BaseException], str]) -> list[str]:
        """Return an error's class and message, and the texts that the functions `more` return.

        An interrupt ends the description. If it comes before the class is known, its own class
        stands there, so that each failure has one.
        """
        functions = (class_name, message_of, *more)
        texts = [""] * len(functions)
        for at, function in enumerate(functions):
            text, failure = self.guard(function, error)
            texts[at] = text or ""
            if isinstance(failure, KeyboardInterrupt):
                texts[0] = texts[0] or "KeyboardInterrupt"
                break
        return texts

    def flush(self) -> None:
        """Write the buffered output of the cell."""
        for stream in self.streams:
            if not stream.closed:
                stream.flush()
        if sys.stdout is not self.streams[0]:
            sys.stdout.flush()

    def assign(self, values: list[Any], text: bytes) -> None:
        """Set a global variable of the cells."""

        def assign() -> None:
            import json

            name = values[0]
            if not name.isidentifier():
                raise ValueError(f"{name!r} is not the name of a variable")
            self.namespace[name] = json.loads(text)

        self.answer(*self.guard(assign))

    def fetch(self, values: list[Any], _: bytes) -> None:
        """Send the value of a global variable of the cells."""

        def fetch() -> bytes:
            import json

            name = values[0]
            if name not in self.namespace:
                raise NameError(f"name {name!r} is not defined")
            data = json.dumps(self.namespace[name]).encode()
            if len(data) > MAX_TEXT:
                raise ValueError(f"the value has {len(data)} bytes as JSON, more than {MAX_TEXT}")
            return data

        self.answer(*self.guard(fetch))

    def renew(self, values: list[Any], _: bytes) -> None:
        """Seed the random number generators of all modules that are imported.

        The cells before the first such request prepare the template. So the next cell is the first
        cell of the user, and its number is 1.
        """
        if not self.is_renewed:
            self.is_renewed = True
            self.cells.count = 0
        self.answer(*self.guard(seed, values[0]))

    def answer(self, value: bytes | None, error: BaseException | None) -> None:
        """Answer a request that is not a cell."""
        if error is not None:
            self.channel.send("failed", *self.describe(error))
        elif value is None:
            self.channel.send("done")
        else:
            self.channel.send_text("value", (), value)
        self.is_answered = True


def exit_status(error: SystemExit) -> int:
    """Return the exit status of a Python program that raises this SystemExit."""
    if error.code is None:
        return 0
    return error.code & 0xFF if type(error.code) is int else 1


def seed(data: bytes) -> None:
    """Seed the random number generators of all modules that are imported."""
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed(data)
    if "numpy.random" in modules:
        words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
        modules["numpy.random"].seed(words)
    if "torch" in modules:
        modules["torch"].manual_seed(int.from_bytes(data[:7], "little"))
    if "_ssl" in modules:
        modules["_ssl"].RAND_add(data, float(len(data)))


def work(fd: int, mark: InterruptMark, namespace: dict[str, Any]) -> None:
    """Execute requests from the socket `fd` until the keeper has exited."""
    import getpass

    channel = Channel(fd)
    questions = Questions(channel)
    worker = Worker(channel, mark, namespace)
    builtins.display = worker.displays.display  # type: ignore[attr-defined]
    builtins.input = questions.input
    getpass.getpass = questions.getpass
    sys.stdin = Input(questions)
    worker.serve()
