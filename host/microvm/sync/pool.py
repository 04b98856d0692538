"""The public class `Pool` for programs without `async`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack, cast, overload

from microvm.concurrency.loop import BackgroundLoop
from microvm.concurrency.threads import in_thread
from microvm.errors import UsageError
from microvm.images import Image
from microvm.jobs import machine_pool, pool
from microvm.jobs.job import Job, Outcome
from microvm.machine.snapshot import Snapshot
from microvm.option import document_options
from microvm.options import (
    BytesRunOptions,
    EncodedRunOptions,
    PoolOptions,
    RunOptions,
    Text,
    TextRunOptions,
)
from microvm.sync.bound import LoopBound
from microvm.sync.interpreter import Interpreter
from microvm.sync.machine import LeasedVM, MicroVM

T = TypeVar("T")


class Pool(LoopBound):
    """A pool of machines that are started before they are needed; see `microvm.Pool`.

    ::

        with Pool(8) as pool:
            with pool.machine() as vm:
                vm.run(["echo", "hello"])
            for outcome in pool.map(["echo", str(n)] for n in range(100)):
                print(outcome.result().stdout)

    Several threads may use a pool at the same time. A pool that is garbage-collected before it is
    closed stops its machines, with a ResourceWarning.
    """

    _original: machine_pool.MachinePool

    @document_options(PoolOptions)
    def __init__(
        self,
        size: int | None = None,
        image: Image | Snapshot | str | Path | None = None,
        *,
        interpreter: Interpreter | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Check the options of the pool and its machines; see `microvm.Pool`."""
        original = None if interpreter is None else interpreter._original
        machines = pool.Pool(size, image, interpreter=original, **options)
        loop = BackgroundLoop(machines.__aexit__, machines._unclosed_warning, "pool")
        self._init(loop, machines)

    @classmethod
    def attach(cls, name: str, *, size: int | None = None) -> Self:
        """Return an object to use the machines of a named pool; see `microvm.Pool.attach`.

        Its method `machine` gives the caller a machine that has the methods of `Machine`.
        """
        machines = pool.Pool.attach(name, size=size)
        loop = BackgroundLoop(machines.__aexit__, machines._unclosed_warning, "pool")
        return cls._new()._init(loop, machines)

    def __enter__(self) -> Self:
        """Begin to start the pool's machines, and return without waiting until they are ready."""
        self._do(self._original.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    @property
    def size(self) -> int:
        """The maximum number of machines that exist at the same time."""
        return self._original.size

    @property
    def ready(self) -> int:
        """The number of started machines that have no user yet."""
        return self._original.ready

    @contextmanager
    def machine(self) -> Iterator[MicroVM]:
        """Context manager that gives the caller a new machine; see `microvm.Pool.machine`."""
        leased = AsyncExitStack()
        try:
            vm = self._do(leased.enter_async_context(self._original.machine()))
            yield LeasedVM._new()._init(self._loop, vm)
        finally:
            self._loop.post(leased.aclose)

    @contextmanager
    def interpreter(self) -> Iterator[Interpreter]:
        """Context manager that gives the caller an interpreter; see `microvm.Pool.interpreter`."""
        leased = AsyncExitStack()
        if not isinstance(self._original, pool.Pool):
            raise UsageError("this is a pool of machines", hint="call its method `machine`")
        try:
            python = self._do(leased.enter_async_context(self._original.interpreter()))
            yield Interpreter._leased(self._loop, python)
        finally:
            self._loop.post(leased.aclose)

    @overload
    def map(
        self,
        commands: Iterable[Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[TextRunOptions],
    ) -> Iterator[Outcome[str]]: ...
    @overload
    def map(
        self,
        commands: Iterable[Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[EncodedRunOptions],
    ) -> Iterator[Outcome[str]]: ...
    @overload
    def map(
        self,
        commands: Iterable[Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[BytesRunOptions],
    ) -> Iterator[Outcome[bytes]]: ...
    @overload
    def map(
        self,
        commands: Iterable[Job | Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[RunOptions],
    ) -> Iterator[Outcome[Any]]: ...
    @document_options(RunOptions)
    def map(
        self,
        commands: Iterable[Job | Sequence[Text]],
        *,
        ordered: bool = True,
        **options: Unpack[RunOptions],
    ) -> Iterator[Outcome[Any]]:
        """Run each command in a machine of its own, and yield its outcome; see `microvm.Pool.map`.

        :param commands: Lists of arguments, or jobs. The iterable may block: it is read in another
            thread, while commands run.
        """
        outcomes = self._original.map(read_in_thread(iter(commands)), ordered=ordered, **options)
        try:
            while (outcome := self._do(next_outcome(outcomes))) is not None:
                yield outcome
        finally:
            self._loop.post(outcomes.aclose)


async def read_in_thread(commands: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield the items of `commands`, which is read in a thread because it may block."""
    end = object()
    while (command := await in_thread(next, commands, cast(T, end))) is not end:
        yield command


async def next_outcome(generator: AsyncGenerator[T, None]) -> T | None:
    return await anext(generator, None)
