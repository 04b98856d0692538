"""The library without `async`: the same objects, driven from ordinary code.

::

    with MicroVM() as vm:
        print(vm.run(["echo", "hello"], text=True).stdout)

Nothing is implemented here a second time. Each call runs the coroutine of the same name in an
event loop that the machine, or the pool, has in a thread of its own, and waits for it. So it works
wherever code runs: in any thread, in several at a time (a machine still runs one command at a
time), and where an event loop runs already, as in a notebook; that loop stands still for as long as
the call takes. Deadlines hold between the calls, too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar, Unpack, cast, overload

import microvm
from microvm import machine, pool
from microvm.capacity import usable_cpus
from microvm.files import Asked, Got, Listed, Read, Written, WrittenFromArchive
from microvm.guest import process, streams
from microvm.guest.process import CompletedProcess
from microvm.guest.timeouts import TIMEOUTS
from microvm.job import Job, Outcome
from microvm.loop import Loop
from microvm.option import lists
from microvm.options import (
    AsBytes,
    AsEncoded,
    AsText,
    ExecOptions,
    MachineOptions,
    NotCaptured,
    PoolOptions,
    RunOptions,
    Text,
)
from microvm.snapshot import Snapshot
from microvm.threads import in_thread
from microvm.units import Duration, parse_count
from microvm.wire import codec

if TYPE_CHECKING:
    from microvm.guest.arrival import Received
    from microvm.guest.departure import Data
    from microvm.guest.files import FileStatus, GuestPath
    from microvm_image.image import Image

T = TypeVar("T")


class _LoopBound:
    """An object whose methods run in an event loop of ours."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(coroutine)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call what is no coroutine, but belongs into the loop."""

        async def call() -> None:
            function(*arguments)

        self._do(call())


class _Files(_LoopBound):
    """See :class:`microvm.files.FileMethods`."""

    _machine: machine.MicroVM | microvm.AttachedVM

    def write_file(
        self, path: GuestPath, data: Data, *, mode: int | None = None, **how: Unpack[Written]
    ) -> None:
        """Make a file of data; see `microvm.MicroVM.write_file`."""
        self._do(self._machine.write_file(path, data, mode=mode, **how))

    @overload
    def read_file(
        self, path: GuestPath, *, encoding: None = None, **how: Unpack[Read]
    ) -> bytes: ...
    @overload
    def read_file(self, path: GuestPath, *, encoding: str, **how: Unpack[Read]) -> str: ...
    def read_file(
        self, path: GuestPath, *, encoding: str | None = None, **how: Unpack[Read]
    ) -> bytes | str:
        """Return what a file holds; see `microvm.MicroVM.read_file`."""
        if encoding is None:
            return self._do(self._machine.read_file(path, **how))
        return self._do(self._machine.read_file(path, encoding=encoding, **how))

    def put(self, src: str | PathLike[str], dst: GuestPath, **how: Unpack[Written]) -> None:
        """Copy a file or a folder of this host into the guest; see `microvm.MicroVM.put`."""
        self._do(self._machine.put(src, dst, **how))

    def get(self, src: GuestPath, dst: str | PathLike[str], **how: Unpack[Got]) -> Received:
        """Copy a file or a folder of the guest to this host; see `microvm.MicroVM.get`."""
        return self._do(self._machine.get(src, dst, **how))

    def put_archive(self, src: BinaryIO, dst: GuestPath, **how: Unpack[WrittenFromArchive]) -> None:
        """Put what is in an archive into the guest; see `microvm.MicroVM.put_archive`."""
        self._do(self._machine.put_archive(src, dst, **how))

    def get_archive(self, src: GuestPath, dst: BinaryIO, **how: Unpack[Got]) -> Received:
        """Write files of the guest as an archive; see `microvm.MicroVM.get_archive`."""
        return self._do(self._machine.get_archive(src, dst, **how))

    def stat(
        self, path: GuestPath, *, follow_symlinks: bool = True, **how: Unpack[Asked]
    ) -> FileStatus:
        """Return what the guest says of a file; see `microvm.MicroVM.stat`."""
        return self._do(self._machine.stat(path, follow_symlinks=follow_symlinks, **how))

    def list(self, path: GuestPath, **how: Unpack[Listed]) -> tuple[FileStatus, ...]:
        """Return what is in a folder, sorted by name; see `microvm.MicroVM.list`."""
        return self._do(self._machine.list(path, **how))


class _Machine(_Files):
    """What a machine can do, whosever it is; see :class:`microvm.MicroVM`."""

    @lists(ExecOptions)
    def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command; see `microvm.MicroVM.exec`."""
        return Process(self._loop, self._do(self._machine.exec(argv, **options)))

    @overload
    def run(
        self, argv: Sequence[Text], **options: Unpack[NotCaptured]
    ) -> CompletedProcess[None]: ...
    @overload
    def run(self, argv: Sequence[Text], **options: Unpack[AsText]) -> CompletedProcess[str]: ...
    @overload
    def run(self, argv: Sequence[Text], **options: Unpack[AsEncoded]) -> CompletedProcess[str]: ...
    @overload
    def run(self, argv: Sequence[Text], **options: Unpack[AsBytes]) -> CompletedProcess[bytes]: ...
    @overload
    def run(self, argv: Sequence[Text], **options: Unpack[RunOptions]) -> CompletedProcess[Any]: ...
    @lists(RunOptions)
    def run(self, argv: Sequence[Text], **options: Unpack[RunOptions]) -> CompletedProcess[Any]:
        """Run a command to its end; see `microvm.MicroVM.run`."""
        return self._do(self._machine.run(argv, **options))

    def ping(self, timeout: Duration = TIMEOUTS.ping) -> None:
        """Ask the guest whether it is alive; see `microvm.MicroVM.ping`."""
        self._do(self._machine.ping(timeout))

    def status(self, timeout: Duration = TIMEOUTS.ping) -> codec.Status:
        """Return the daemon's counters; see `microvm.MicroVM.status`."""
        return self._do(self._machine.status(timeout))

    def checkpoint(self, name: str | None = None) -> Snapshot:
        """Take a snapshot of the machine, which goes on; see `microvm.MicroVM.checkpoint`."""
        return self._do(self._machine.checkpoint(name))

    def fork(self, count: int = 1) -> Forks:
        """Start machines that go on from where this one is; see `microvm.MicroVM.fork`."""
        count = parse_count(count, least=1)
        with self.checkpoint() as snapshot:
            return Forks.start(snapshot, count, confinement=self._machine.confinement)


class MicroVM(_Machine):
    """See :class:`microvm.MicroVM`, which takes the same arguments.

    Its `notify` is called in the machine's own thread. One that nobody holds any more, nor anything
    that came from it, is ended, with a ResourceWarning.
    """

    _driven = machine.MicroVM

    @lists(MachineOptions)
    def __init__(
        self,
        image: Image | Snapshot | str | Path | None = None,
        **options: Unpack[MachineOptions],
    ) -> None:
        """Check what it is to be; see `microvm.MicroVM`."""
        self._machine: machine.MicroVM = self._driven(image, **options)
        super().__init__(Loop(self._machine.stop, self._machine.unclosed))

    @staticmethod
    def attach(name: str, *, wait: bool = False) -> AttachedVM:
        """Return a named machine that is running; see `microvm.MicroVM.attach`."""
        return AttachedVM(name, wait=wait)

    def __repr__(self) -> str:
        return repr(self._machine)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None when the machine is not up."""
        return self._machine.pid

    def start(self) -> None:
        """Boot the guest and wait until it is ready; see `microvm.MicroVM.start`."""
        try:
            self._do(self._machine.start())
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the machine, whatever state it is in; idempotent."""
        self._loop.close()


class AttachedVM(_Machine):
    """See :class:`microvm.AttachedVM`; `MicroVM.attach` gives one."""

    def __init__(self, name: str, *, wait: bool = False) -> None:
        """Find the machine; see `microvm.MicroVM.attach`."""
        self._machine: microvm.AttachedVM = microvm.AttachedVM(name, wait=wait)
        self.name, self.facts = self._machine.name, self._machine.facts
        super().__init__(Loop(self._machine.detach, str))

    def __repr__(self) -> str:
        return repr(self._machine)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    @property
    def pid(self) -> int | None:
        """The process id of QEMU."""
        return self._machine.pid

    def detach(self) -> None:
        """Let go of the machine, which goes on; see `microvm.AttachedVM.detach`. Idempotent."""
        self._loop.close()

    def stop(self) -> None:
        """End the machine, for everybody; see `microvm.AttachedVM.stop`. Idempotent."""
        if not self._machine.stopped:
            self._do(self._machine.stop())
        self.detach()


class Forks(list[MicroVM]):
    """See :class:`microvm.Forks`."""

    @classmethod
    def start(cls, snapshot: Snapshot, count: int, **options: Unpack[PoolOptions]) -> Self:
        """Start machines from a snapshot; see `microvm.Forks.start`."""
        forks = cls(MicroVM(snapshot, **options) for _ in range(count))
        try:
            with ThreadPoolExecutor(usable_cpus()) as starting:
                list(starting.map(MicroVM.start, forks))
        except BaseException:
            forks.stop()
            raise
        return forks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End all of them, whatever state they are in; idempotent."""
        for vm in self:
            vm.stop()


class Pool(_LoopBound):
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

    @lists(PoolOptions)
    def __init__(
        self,
        size: int | None = None,
        image: Image | Snapshot | str | Path | None = None,
        **machine: Unpack[PoolOptions],
    ) -> None:
        """Check what they are to be; see `microvm.Pool`."""
        self._pool = pool.Pool(size, image, **machine)
        super().__init__(Loop(self._pool.__aexit__, self._pool.unclosed, "pool"))

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

    @overload
    def map(
        self,
        commands: Iterable[Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[AsText],
    ) -> Iterator[Outcome[str]]: ...
    @overload
    def map(
        self,
        commands: Iterable[Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[AsEncoded],
    ) -> Iterator[Outcome[str]]: ...
    @overload
    def map(
        self,
        commands: Iterable[Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[AsBytes],
    ) -> Iterator[Outcome[bytes]]: ...
    @overload
    def map(
        self,
        commands: Iterable[Job | Sequence[Text]],
        *,
        ordered: bool = ...,
        **options: Unpack[RunOptions],
    ) -> Iterator[Outcome[Any]]: ...
    @lists(RunOptions)
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
        outcomes = self._pool.map(_asked(iter(commands)), ordered=ordered, **options)
        try:
            while (outcome := self._do(_next(outcomes))) is not None:
                yield outcome
        finally:
            self._loop.post(outcomes.aclose)


class _Leased(MicroVM):
    """A machine of a pool, which lives in the pool's loop and not in one of its own."""

    def __init__(self, loop: Loop, vm: machine.MicroVM) -> None:
        self._machine = vm
        _LoopBound.__init__(self, loop)

    def stop(self) -> None:
        """End the machine; its pool goes on."""
        self._do(self._machine.stop())


async def _asked(commands: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield what an iterator does that may block."""
    end = object()
    while (command := await in_thread(next, commands, cast(T, end))) is not end:
        yield command


async def _next(generator: AsyncGenerator[T, None]) -> T | None:
    return await anext(generator, None)


class OutputStream(_LoopBound):
    """See :class:`microvm.OutputStream`; iterate over it to get chunks of bytes."""

    def __init__(self, loop: Loop, stream: streams.OutputStream) -> None:
        super().__init__(loop)
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks as they come, each at least one byte."""
        while chunk := self._do(self._next()):
            yield chunk

    async def _next(self) -> bytes:
        return await anext(self._stream, b"")

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes as soon as there are any, by default all up to the end."""
        return self._do(self._stream.read(size))

    def readline(self) -> bytes:
        """Return one line; see `microvm.OutputStream.readline`."""
        return self._do(self._stream.readline())


class InputStream(_LoopBound):
    """See :class:`microvm.InputStream`."""

    def __init__(self, loop: Loop, stream: streams.InputStream) -> None:
        super().__init__(loop)
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Feed bytes to the command, and wait until they are on their way.

        :raises BrokenPipeError: the command has closed its standard input, or has ended.
        """
        self._do(self._write(data))

    async def _write(self, data: bytes) -> None:
        self._stream.write(data)
        await self._stream.drain()

    def close(self) -> None:
        """Mark the end of the input."""
        self._call(self._stream.close)


class Process(_LoopBound):
    """See :class:`microvm.Process`.

    ::

        with vm.exec(["yes"]) as process:
            first = next(iter(process.stdout))
    """

    def __init__(self, loop: Loop, running: process.Process) -> None:
        super().__init__(loop)
        self._process = running
        self.args = running.args
        self.stdin = InputStream(loop, running.stdin) if running.stdin else None
        self.stdout = OutputStream(loop, running.stdout)
        self.stderr = OutputStream(loop, running.stderr)

    def __repr__(self) -> str:
        return repr(self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._loop.closed:
            self._do(self._process.__aexit__(*exception))

    @property
    def returncode(self) -> int | None:
        """The exit code, -N when signal N ended it, or None while it runs."""
        return self._process.returncode

    @property
    def memory(self) -> int | None:
        """The most memory that it took, in bytes; see `microvm.Process.memory`."""
        return self._process.memory

    def poll(self) -> int | None:
        """Return the return code, or None while the command runs."""
        return self.returncode

    def wait(self) -> int:
        """Wait for the command to end, and return its return code; see `microvm.Process.wait`."""
        return self._do(self._process.wait())

    def communicate(self, input: bytes | None = None) -> tuple[bytes, bytes]:  # noqa: A002
        """Feed the command and read all of its output; see `microvm.Process.communicate`."""
        return self._do(self._process.communicate(input))

    def send_signal(self, signal: int) -> None:
        """Send a signal to the command's process group; nothing happens when it has ended."""
        self._call(self._process.send_signal, signal)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal; nothing happens without one, or when it has ended."""
        self._call(self._process.resize, rows, columns)

    def abandon(self) -> None:
        """Kill the command, and drop its output; see `microvm.Process.abandon`."""
        self._call(self._process.abandon)

    def terminate(self) -> None:
        """Send SIGTERM to the command's process group."""
        self._call(self._process.terminate)

    def kill(self) -> None:
        """Kill the command and everything that it has started."""
        self._call(self._process.kill)
