"""The public class `Interpreter`: Python that runs cells in a machine and keeps its variables."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from microvm.concurrency.tasks import running_loop
from microvm.errors import InterpreterDied, InterpreterError, MicroVMError, NoJsonValue, UsageError
from microvm.interpreter.cell import Cell
from microvm.interpreter.cell_run import Callbacks, CellRun, OnDisplay, OnInput, OnText
from microvm.interpreter.connection import READY_TIMEOUT, InterpreterConnection
from microvm.interpreter.escalation import GRACE
from microvm.interpreter.source import (
    LimitedSource,
    MachineSource,
    PreparedSource,
    ResidentSource,
    SnapshotSource,
    Source,
    not_running,
)
from microvm.machine.base import Machine
from microvm.machine.forks import Forks
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions, document_options, parse_options
from microvm.options import ExecOptions, MachineOptions, Text
from microvm.units import Duration, Size, parse_count, parse_duration, parse_size
from microvm.wire.interpreter import Failed, Result

if TYPE_CHECKING:
    from microvm.images import Image

_MEMORY = 512 << 20  # default memory of the machine of an interpreter, in bytes
_COMMANDS = 16  # default maximum number of commands at a time; the interpreter is one of them

_WAYS = (
    "convert it in a cell, as by `to_dict()` or `tolist()`, or write it to a file in a cell and "
    "copy the file out with `vm.get`"
)
_MAX_NAME = 255  # maximum size of the name of a variable, in bytes
_REQUEST_TIMEOUT = 60.0  # maximum number of seconds for `get`, `set` and the new random seeds
MAX_OUTPUT = "16M"
"""Default maximum size of the output and the displays in the result of a cell."""


class Interpreter:
    """A Python interpreter in a machine, which runs cells and keeps their variables.

    ::

        async with Interpreter() as python:
            await python.run("x = 20")
            cell = await python.run("print(x); x + 1", timeout=10)
            print(cell.stdout, cell.result)

    The first start with an image and imports starts Python in a machine, and saves the machine as a
    template. Later starts clone the template.
    """

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
        """Check the options. `start`, or entering an `async with` block, starts the interpreter.

        The machine has 512 MiB of memory and runs 16 commands at the same time, unless the options
        say otherwise.

        :param snapshot: Snapshot of an interpreter, or its name, which `checkpoint` has saved. The
            interpreter continues from it, and `image` is not used.
        :param image: See `MicroVM`. The image must contain the program `python3`.
        :param packages: Packages to install, such as `numpy>=2`, as by `microvm image build --pip`.
            The image with these packages is built once.
        :param imports: Names of modules to import before the template is saved. As after `import
            json`, the variable `json` exists in all cells.
        :raises UsageError: If an option is invalid.
        :raises TypeError: If an option does not exist.
        """
        checked = parse_options(MachineOptions, options, "Interpreter", "snapshot")
        if checked["cold"]:
            raise UsageError("cold: an interpreter always starts from a template or a snapshot")
        if snapshot is not None:
            if packages or imports:
                raise UsageError(
                    "`packages` and `imports` cannot be given for an interpreter of a snapshot",
                    hint="run a cell with `import` in the interpreter",
                )
            self._set_up(SnapshotSource(snapshot, _with_defaults(checked, commands=_COMMANDS)))
            return
        for name, given in (("packages", packages), ("imports", imports)):
            if isinstance(given, str):
                raise UsageError(f"{name}: {given!r} is no list", hint=f"write [{given!r}]")
        for module in imports:
            if not all(name.isidentifier() for name in module.split(".")):
                raise UsageError(f"imports: {module!r} is not the name of a module")
        checked = _with_defaults(checked, commands=_COMMANDS, memory=_MEMORY)
        self._set_up(PreparedSource(image, tuple(packages), tuple(imports), checked))

    @classmethod
    def within(
        cls,
        vm: Machine,
        *,
        user: Text | int | None = None,
        max_memory: Size = 0,
        max_processes: int = 1024,
    ) -> Self:
        """Create an interpreter in a machine that exists. `start` starts it.

        A machine can have several interpreters, each with its own user and limits. Each one counts
        as a command of the machine. Such an interpreter cannot be forked or saved. `close` kills
        it with everything that it has started, and leaves the machine running.

        :param user: See `MicroVM.run`, which has the same parameters.
        :raises UsageError: If an option is invalid.
        """
        limits: ExecOptions = {"max_memory": max_memory, "max_processes": max_processes}
        options: ExecOptions = {**limits, "user": user} if user is not None else limits
        parse_options(ExecOptions, options, "within")
        return cls.__new__(cls)._set_up(MachineSource(vm, options))

    @classmethod
    def _limited(
        cls,
        image: Image | str | Path,
        packages: Sequence[str],
        imports: Sequence[str],
        options: MachineOptions,
        limits: ExecOptions,
    ) -> Self:
        """Create an interpreter with the user and the limits in `limits`, in its own machine.

        It cannot be forked or saved. The other parameters are those of the constructor.
        """
        checked = parse_options(MachineOptions, options, "Interpreter")
        checked = _with_defaults(checked, commands=_COMMANDS, memory=_MEMORY)
        source = LimitedSource(image, tuple(packages), tuple(imports), checked, limits)
        return cls.__new__(cls)._set_up(source)

    @classmethod
    def _resident(cls, vm: Machine, socket: str | None) -> Self:
        """Create an interpreter in a machine. Snapshots of the machine contain the interpreter.

        `close` leaves the interpreter running.

        :param socket: Value of `_socket` of the original interpreter if the machine was cloned from
            such a snapshot; None to start an interpreter.
        """
        return cls.__new__(cls)._set_up(ResidentSource(vm, socket))

    def _set_up(self, source: Source) -> Self:
        """Set the attributes of an interpreter that has not started, and return self."""
        self._source = source
        self._connection: InterpreterConnection | None = None
        self._death: InterpreterDied | None = None  # error of the last attempt to connect
        self._lock = asyncio.Lock()
        self._started = False
        self._is_closed = False
        self._is_cut = False  # a snapshot has closed the connection, which can be opened again
        return self

    def _another(self) -> Self:
        """Return an interpreter that starts in the same way."""
        return type(self).__new__(type(self))._set_up(self._source.another())

    async def __aenter__(self) -> Self:
        if not self._started:
            await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "not running" if self._connection is None else f"in {self._source.vm!r}"
        return f"<{type(self).__name__}: {state}>"

    @property
    def vm(self) -> Machine:
        """The machine of the interpreter. Its methods can be used while a cell runs.

        :raises UsageError: If the interpreter has not been started, or was closed.
        """
        if self._source.vm is None:
            raise not_running()
        return self._source.vm

    async def start(self) -> None:
        """Start the interpreter. The first start with an image and imports takes some seconds.

        :raises UsageError: If the interpreter was started before, or is closed meanwhile.
        :raises StartError: If the image has no program `python3`.
        :raises InterpreterError: If a module cannot be imported.
        :raises ImageError: If the image does not exist, or a package cannot be installed.
        :raises InterpreterDied: If the snapshot contains no interpreter.
        :raises SnapshotError: If another version of microvm has saved the snapshot.
        :raises MicroVMError: If the machine cannot be started; see `MicroVM.start`.
        """
        if self._started or self._is_closed:
            raise UsageError("an interpreter is started once; create another, or use `restart`")
        running_loop("interpreter")
        self._started = True
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    def _unclosed_warning(self) -> str:
        return "" if self._connection is None else "an interpreter was never closed"

    async def _start(self) -> None:
        """Start the interpreter. If `close` is called meanwhile, stop it again."""
        try:
            self._socket = await self._source.start()
            await self._connect()
            await self._request(
                self._connected().session.renew(secrets.token_bytes(32)), timeout=READY_TIMEOUT
            )
        except MicroVMError as error:
            if self._is_closed:
                raise UsageError("the interpreter was closed while it started") from error
            raise
        finally:
            if self._is_closed:
                await self._release()

    async def _connect(self) -> None:
        self._check_open()
        try:
            connection = await InterpreterConnection.open(self.vm, self._socket)
        except InterpreterDied as error:
            self._death = error
            raise
        self._connection, self._death = connection, None
        if self._is_closed:
            await self._disconnect()
        self._check_open()

    def _check_open(self) -> None:
        if self._is_closed:
            raise not_running()

    def _stop(self) -> None:
        """End the running request with an error, because the interpreter is about to be stopped."""
        if self._connection is not None:
            self._connection.stop()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def restart(self) -> None:
        """Stop the interpreter, dead or alive, and start it again as `start` has started it.

        A running cell ends with `InterpreterDied`. An interpreter with a machine of its own gets a
        new machine. So the variables and the files of the cells so far are lost.

        :raises UsageError: If the interpreter was never started, or is closed.
        :raises MicroVMError: As by `start`. A further call tries again.
        """
        if not self._started:
            raise not_running()
        self._check_open()
        self._stop()
        async with self._lock:
            await self._disconnect()
            await self._source.stop()
            self._check_open()
            await self._start()

    async def close(self) -> None:
        """Stop the interpreter, and its machine if it has its own. Further calls do nothing.

        A running cell ends with `InterpreterDied`, and a running `start` or `restart` with
        `UsageError`.
        """
        self._is_closed = True
        self._stop()
        await self._release()

    async def _release(self) -> None:
        """Close the connection to the interpreter, and the machine or program that it runs in."""
        try:
            await self._disconnect()
        finally:
            await self._source.close()

    async def run(
        self,
        code: str,
        *,
        timeout: Duration | None = None,
        grace: Duration = GRACE,
        max_output: Size = MAX_OUTPUT,
        on_stdout: OnText | None = None,
        on_stderr: OnText | None = None,
        on_display: OnDisplay | None = None,
        on_input: OnInput | None = None,
    ) -> Cell:
        """Run a cell, and return its result when it has ended.

        Cells run one after another; a call waits until the earlier ones have ended. If the caller
        is cancelled, or a callback raises an exception, the cell is ended as after its `timeout`.

        :param code: Python code. Top-level `await` is allowed.
        :param timeout: Time after which the cell is interrupted: it gets a KeyboardInterrupt. The
            variables stay.
        :param grace: Time after the interrupt, in seconds or as text such as `2s`. Then all
            processes that the cell has started are killed. If the cell does not end after this
            time again, the interpreter is killed.
        :param max_output: Maximum size of the output and the displays that the cell's result
            contains, in bytes or as text such as `64M`. The rest is dropped and counted.
        :param on_stdout: Function that gets the standard output as text while it is written. It
            may be a coroutine function; the cell's writes then wait for it. `on_stderr` and
            `on_display` get standard error and the displays in the same way.
        :param on_input: Function that answers `input()` of the cell. It gets the prompt, and True
            if the answer is a password, and returns the line; None refuses. By default, `input()`
            raises EOFError.
        :raises InterpreterDied: If the interpreter dies. The error contains the output so far.
        :raises UsageError: If an option is invalid, or the code is too long.
        :raises MachineError: If the machine has failed.
        """
        seconds = None if timeout is None else parse_duration(timeout)
        step, limit = parse_duration(grace), parse_size(max_output)
        callbacks = Callbacks(on_stdout, on_stderr, on_display, on_input)
        return await self._run(code, callbacks, timeout=seconds, grace=step, max_output=limit)

    async def _run(
        self,
        code: str,
        callbacks: Callbacks,
        *,
        timeout: float | None,
        grace: float,
        max_output: int,
        late_grace: float | None = None,
    ) -> Cell:
        """Run a cell with options that are already checked; see `run`.

        :param late_grace: Value of `grace` after the time limit, if it differs.
        """
        if not isinstance(code, str):
            raise UsageError(f"the code of a cell is text, not {type(code).__name__}")
        async with self._lock:
            connection = await self._reconnected()
            cell = CellRun(connection, max_output, callbacks)
            try:
                frame = connection.session.run(code, max_display=max_output)
                result, escalation = await connection.request(
                    frame, cell, timeout=timeout, grace=grace, late_grace=late_grace
                )
                assert isinstance(result, Result)  # noqa: S101 - the session refuses others
                return cell.finish(result, escalation)
            except InterpreterDied as error:
                raise cell.describe(await self._source.explain(error)) from None
            finally:
                await cell.end()

    async def interrupt(self, *, kill: bool = False) -> None:
        """Raise KeyboardInterrupt in the running cell, as its time-out does. See `run`.

        The call does not wait until the cell has ended. Without a running cell, it has no effect.

        :param kill: True to interrupt the cell unless it was interrupted before, and to kill at
            once the processes that it has started. If this was done before, the interpreter is
            killed.
        """
        self._connected().interrupt(kill=kill)

    async def set(self, name: str, value: Any) -> None:
        """Set a variable of the cells to a value that JSON can express.

        :raises UsageError: If the value is no JSON value or too large, or the name is invalid.
        :raises InterpreterDied: If the interpreter dies.
        """
        try:
            text = json.dumps(value)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the value of {name} cannot be written as JSON: {error}") from None
        async with self._lock:
            session = (await self._reconnected()).session
            await self._request(session.assign(_name(name), text))

    async def get(self, name: str) -> Any:
        """Return the value of a variable of the cells, converted to JSON and back.

        :raises InterpreterError: If the variable does not exist.
        :raises NoJsonValue: If JSON cannot express the value. It is also a TypeError.
        :raises InterpreterDied: If the interpreter dies.
        """
        async with self._lock:
            session = (await self._reconnected()).session
            try:
                await self._request(session.fetch(_name(name)))
            except InterpreterError as error:
                if error.message.startswith("TypeError: "):
                    raise NoJsonValue(f"the value of {name}: {error.message}", hint=_WAYS) from None
                raise
            try:
                return json.loads(session.text)
            except (ValueError, RecursionError) as error:
                raise InterpreterError(
                    f"the guest sent an invalid value of {name}: {error}"
                ) from None

    async def checkpoint(self, name: str | None = None) -> Snapshot:
        """Save a snapshot of the interpreter and its machine, which continue to run.

        `Interpreter(name)` continues from it.

        :param name: See `MicroVM.checkpoint`.
        :raises Busy: If another command or connection is open in the machine.
        :raises UsageError: If the interpreter shares its machine.
        :raises SnapshotError: If the snapshot cannot be saved.
        """
        return await self._source.checkpoint(name, self._disconnected())

    @overload
    async def fork(self) -> Self: ...
    @overload
    async def fork(self, count: int) -> Forks[Self]: ...
    async def fork(self, count: int | None = None) -> Self | Forks[Self]:
        """Start interpreters with the same variables and files, each in a machine of its own.

        ::

            async with await python.fork() as twin: ...
            async with await python.fork(3) as forks:
                for fork in forks: ...

        All of them continue from one snapshot, so three forks take less time than three calls.

        :param count: Number of interpreters to start.
        :return: An interpreter that has started, or a list of interpreters if `count` is given.
            The end of the list's `async with` block, or `Forks.stop`, closes them.
        :raises UsageError: If the count is less than 1, or the interpreter shares its machine.
        :raises MicroVMError: As by `checkpoint` and `start`. All new interpreters are then closed.
        """
        forks = await (await self._forks(count))._start()
        return forks[0] if count is None else forks

    async def _forks(self, count: int | None) -> Forks[Self]:
        """Take a snapshot, and return interpreters that `start` starts from it."""
        number = 1 if count is None else parse_count(count, least=1)
        snapshot = await self.checkpoint()
        sources = self._source.forks(snapshot, number)
        return Forks(type(self).__new__(type(self))._set_up(source) for source in sources)

    @asynccontextmanager
    async def _disconnected(self) -> AsyncIterator[None]:
        """Context manager that keeps the connection closed, so that a snapshot can be taken."""
        async with self._lock:
            # A dead interpreter must not be saved. The host may not have been notified of its death
            # yet, so send a request and wait for the answer.
            connection = await self._reconnected()
            frame = connection.session.fetch("__name__")
            await connection.request(frame, None, timeout=_REQUEST_TIMEOUT, grace=GRACE)
            self._is_cut = True
            try:
                await self._disconnect()
                yield
            finally:
                await self._reconnected()

    async def _reconnected(self) -> InterpreterConnection:
        """Return the connection. Open it again if a snapshot, even a cancelled one, closed it."""
        is_cut = self._is_cut and not self._is_closed
        if self._connection is None and is_cut and self._death is None:
            await self._connect()
        self._is_cut = False
        return self._connected()

    def _connected(self) -> InterpreterConnection:
        if self._connection is None:
            raise copy(self._death) if self._death is not None else not_running()
        return self._connection

    async def _request(self, frame: bytes, *, timeout: float = _REQUEST_TIMEOUT) -> None:
        """Send a request that is no cell, and wait for its answer."""
        answer, _ = await self._connected().request(frame, None, timeout=timeout, grace=GRACE)
        if isinstance(answer, Failed):
            raise InterpreterError(f"{answer.error_type}: {answer.error_message}")


def _with_defaults(options: ParsedOptions, **defaults: int) -> ParsedOptions:
    """Return the options. `defaults` replace the values that the user has not given."""
    if "commands" in options.given and options["commands"] == 1:
        raise UsageError(
            "commands: 1 is too small, because the interpreter itself counts as a command",
            hint="set commands=2, which permits one command or file transfer while a cell runs",
        )
    return options.replace(**{k: v for k, v in defaults.items() if k not in options.given})


def _name(name: str) -> str:
    if not name.isidentifier():
        raise UsageError(f"{name!r} is not the name of a variable")
    if len(name.encode()) > _MAX_NAME:
        raise UsageError(f"the name of a variable has more than {_MAX_NAME} bytes")
    return name
