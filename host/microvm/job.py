"""A job for one of many machines, and its outcome."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from microvm.errors import UsageError
from microvm.guest.process import CompletedProcess, O_co
from microvm.options import RunOptions, Text


@dataclass(frozen=True, slots=True)
class Job:
    """A command and how it is to be run.

    :ivar argv: the arguments, of which the first is the name that the command sees.
    :ivar options: keyword arguments of `MicroVM.run`, over those that all jobs have.
    """

    argv: Sequence[Text]
    options: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[O_co]):
    """The outcome of a job: either `completed` or `error` is set.

    :ivar job: the job; the very object that was given, if one was.
    :ivar seconds: the time from the request to its end, without the wait for a machine.
    :ivar completed: the result of `MicroVM.run`.
    :ivar error: the error that it raised: `StartError`, `ExecTimeout`, `MachineError`, …
    """

    job: Job
    seconds: float
    completed: CompletedProcess[O_co] | None = None
    error: Exception | None = None

    def result(self) -> CompletedProcess[O_co]:
        """Return `completed`.

        :raises Exception: `error`, if that is set.
        """
        if self.completed is None:
            assert self.error is not None  # noqa: S101 - it is one or the other
            raise self.error
        return self.completed


Argvs = Iterable[Sequence[Text]] | AsyncIterable[Sequence[Text]]
Commands = Iterable[Job | Sequence[Text]] | AsyncIterable[Job | Sequence[Text]]


async def jobs(commands: Commands) -> AsyncGenerator[Job, None]:
    """Yield the commands as jobs, each when it is asked for.

    :raises UsageError: a command is one string, and no list of arguments.
    """
    if isinstance(commands, AsyncIterable):
        async for command in commands:
            yield _job(command)
    else:
        for command in commands:
            yield _job(command)


def _job(command: Job | Sequence[Text]) -> Job:
    if isinstance(command, str | bytes):
        raise UsageError(f"a command is a list of arguments, not {command!r}")
    return command if isinstance(command, Job) else Job(command)
