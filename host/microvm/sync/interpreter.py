"""The public class `Interpreter` for programs without `async`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ParamSpec, Self, TypeVar, Unpack, overload

from microvm.concurrency.loop import BackgroundLoop
from microvm.concurrency.threads import in_thread
from microvm.images import Image
from microvm.interpreter import interpreter
from microvm.interpreter.cell import Cell, Display
from microvm.interpreter.escalation import GRACE
from microvm.machine.snapshot import Snapshot
from microvm.option import document_options
from microvm.options import MachineOptions, Text
from microvm.sync.base import Machine
from microvm.sync.bound import LoopBound, blocking
from microvm.sync.forks import Forks
from microvm.sync.machine import LeasedVM
from microvm.units import Duration, Size

P = ParamSpec("P")
T = TypeVar("T")


class Interpreter(LoopBound):
    """A Python interpreter in a machine; see `microvm.Interpreter`.

    ::

        with Interpreter() as python:
            python.run("x = 20")
            print(python.run("x + 1", timeout=10).result)

    Several threads may use an interpreter at the same time, for example one that runs a cell and
    another that interrupts it. An interpreter that is garbage-collected before it is closed is
    stopped, with a ResourceWarning.
    """

    _original: interpreter.Interpreter
    _owns_loop: bool
    _vm: Machine | None = None

    @document_options(MachineOptions)
    def __init__(
        self,
        snapshot: Snapshot | str | None = None,
        *,
        image: Image | str | Path = "python",
        packages: Sequence[str] = (),
        imports: Sequence[str] = (),
        **options: Unpack[MachineOptions],
    ) -> None:
        """Check the options of the interpreter, without starting it; see `microvm.Interpreter`."""
        self._own(
            interpreter.Interpreter(
                snapshot, image=image, packages=packages, imports=imports, **options
            )
        )

    def _own(self, original: interpreter.Interpreter) -> Self:
        """Set the attributes of an interpreter with an event loop of its own, and return self."""
        loop = BackgroundLoop(original.close, original._unclosed_warning, "interpreter")
        self._init(loop, original)
        self._owns_loop = True
        return self

    @classmethod
    def _leased(cls, loop: BackgroundLoop, original: interpreter.Interpreter) -> Self:
        """Return an interpreter whose event loop belongs to another object, such as a pool."""
        python = cls._new()._init(loop, original)
        python._owns_loop = False
        return python

    @classmethod
    def within(
        cls,
        vm: Machine,
        *,
        user: Text | int | None = None,
        max_memory: Size = 0,
        max_processes: int = 1024,
    ) -> Self:
        """Create an interpreter in a machine that exists; see `microvm.Interpreter.within`."""
        original = interpreter.Interpreter.within(
            vm._original, user=user, max_memory=max_memory, max_processes=max_processes
        )
        python = cls._leased(vm._loop, original)
        python._vm = vm
        return python

    def __repr__(self) -> str:
        return repr(self._original)

    def __enter__(self) -> Self:
        self._do(self._original.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def vm(self) -> Machine:
        """The machine of the interpreter; see `microvm.Interpreter.vm`."""
        return self._vm or LeasedVM._new()._init(self._loop, self._original.vm)

    def close(self) -> None:
        """Stop the interpreter, and its machine if it has its own. Further calls do nothing."""
        if self._owns_loop:
            self._loop.close()
        elif not self._loop.closed:
            self._do(self._original.close())

    def run(
        self,
        code: str,
        *,
        timeout: Duration | None = None,
        grace: Duration = GRACE,
        max_output: Size = interpreter.MAX_OUTPUT,
        on_stdout: Callable[[str], None] | None = None,
        on_stderr: Callable[[str], None] | None = None,
        on_display: Callable[[Display], None] | None = None,
        on_input: Callable[[str, bool], str | None] | None = None,
    ) -> Cell:
        """Run a cell, and return its result when it has ended; see `microvm.Interpreter.run`.

        The functions are called in another thread, and may block. The cell's writes wait for them.
        An interruption of this call, such as Ctrl-C, interrupts the cell.
        """
        return self._do(
            self._original.run(
                code,
                timeout=timeout,
                grace=grace,
                max_output=max_output,
                on_stdout=_threaded(on_stdout),
                on_stderr=_threaded(on_stderr),
                on_display=_threaded(on_display),
                on_input=_threaded(on_input),
            )
        )

    @overload
    def fork(self) -> Self: ...
    @overload
    def fork(self, count: int) -> Forks[Self]: ...
    def fork(self, count: int | None = None) -> Self | Forks[Self]:
        """Start interpreters with the same state; see `microvm.Interpreter.fork`."""
        originals = self._do(self._original._forks(count))
        forks = Forks(type(self)._new()._own(each) for each in originals)._start()
        return forks[0] if count is None else forks

    start = blocking(interpreter.Interpreter.start)
    restart = blocking(interpreter.Interpreter.restart)
    interrupt = blocking(interpreter.Interpreter.interrupt)
    set = blocking(interpreter.Interpreter.set)
    get = blocking(interpreter.Interpreter.get)
    checkpoint = blocking(interpreter.Interpreter.checkpoint)


def _threaded(function: Callable[P, T] | None) -> Callable[P, Awaitable[T]] | None:
    """Return a function that calls `function` in a thread; None for None."""
    return None if function is None else partial(in_thread, function)
