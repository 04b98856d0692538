"""The public class `Pool`, without `async`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, cast, overload

from microvm.concurrency.loop import BackgroundLoop
from microvm.concurrency.threads import in_thread
from microvm.jobs import pool
from microvm.jobs.job import Job, Outcome
from microvm.machine import machine
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
from microvm.sync.machine import MicroVM

if TYPE_CHECKING:
    from microvm.images import Image

T = TypeVar("T")


class Pool(LoopBound):
    """See :class:`microvm.Pool`, which takes the same arguments.

    ::

        with Pool(8) as pool:
            with pool.machine() as vm:
                vm.run(["echo", "hello"])
            for outcome in pool.map(["echo", str(n)] for n in range(100)):
                print(outcome.result().stdout)

    Several threads may use it at once. One that nobody holds any more, nor anything that came from
    it, is closed, with a ResourceWarning.
    """

    @document_options(PoolOptions)
    def __init__(
        self,
        size: int | None = None,
        image: Image | Snapshot | str | Path | None = None,
        **options: Unpack[PoolOptions],
    ) -> None:
        """Check what they are to be; see `microvm.Pool`."""
        self._pool = pool.Pool(size, image, **options)
        super().__init__(BackgroundLoop(self._pool.__aexit__, self._pool._unclosed_warning, "pool"))

    def __enter__(self) -> Self:
        """Begin to start machines, without waiting for them."""
        self._do(self._pool.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    @property
    def size(self) -> int:
        """How many machines there are at most."""
        return self._pool.size

    @property
    def ready(self) -> int:
        """The number of machines that wait for a user."""
        return self._pool.ready

    @contextmanager
    def machine(self) -> Iterator[MicroVM]:
        """Lease a machine that nobody has used; see `microvm.Pool.machine`."""
        leased = AsyncExitStack()
        try:
            vm = self._do(leased.enter_async_context(self._pool.machine()))
            yield _Leased(self._loop, vm)
        finally:
            self._loop.post(leased.aclose)

    # Overloads as `microvm.Pool` has them: no type says "the same, but for the kind of iterator".
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

        :param commands: lists of arguments, or jobs; an iterable of any length, which may block: it
            is asked in a thread of ours, one command at a time, while others run.
        """
        outcomes = self._pool.map(asked(iter(commands)), ordered=ordered, **options)
        try:
            while (outcome := self._do(following(outcomes))) is not None:
                yield outcome
        finally:
            self._loop.post(outcomes.aclose)


class _Leased(MicroVM):
    """A machine of a pool, which lives in the pool's loop and not in one of its own."""

    def __init__(self, loop: BackgroundLoop, vm: machine.MicroVM) -> None:
        self._machine = vm
        LoopBound.__init__(self, loop)

    def stop(self) -> None:
        """End the machine; its pool goes on."""
        self._do(self._machine.stop())


async def asked(commands: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield what an iterator does that may block."""
    end = object()
    while (command := await in_thread(next, commands, cast(T, end))) is not end:
        yield command


async def following(generator: AsyncGenerator[T, None]) -> T | None:
    return await anext(generator, None)
