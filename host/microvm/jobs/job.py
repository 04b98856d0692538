"""The public classes `Job` and `Outcome`: a command for one of many machines, and its result."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Unpack, cast

from microvm.errors import ExecKilled, FileError, UsageError
from microvm.guest import pattern as patterns
from microvm.guest.process import CompletedProcess, O_co
from microvm.machine.files import as_user, collected, in_folder
from microvm.option import complete_options, document_options, read_options
from microvm.options import Argv, ExecOptions, RunOptions, Text
from microvm.units import parse_size

if TYPE_CHECKING:
    from microvm.machine.base import Machine

MAX_COLLECT = 16 << 20
"""Maximum total size in bytes of the files that a job collects, if `max_output` is not set."""


@dataclass(frozen=True, slots=True, init=False)
class Job:
    r"""A command that `Pool.map` runs in a machine, with its own options and files.

    ::

        Job(["sort", "in"], timeout="5s", files={"in": b"b\na\n"}, collect=["in"])

    :ivar argv: Arguments of the command; with the option `shell`, a command line.
    :ivar options: Checked options of the command, which take precedence over those of `Pool.map`.
    :ivar files: Content of the files that are written into the guest before the command runs, by
        path; see `MicroVM.write_file`.
    :ivar collect: Paths of the files that are read after the command, even if it fails, or patterns
        of paths as for `MicroVM.glob`. Their total size is limited to `max_output`, or else to
        16 MiB.
    """

    argv: Sequence[Text]
    options: Mapping[str, Any]
    files: Mapping[str, str | bytes]
    collect: Sequence[str]

    @document_options(RunOptions)
    def __init__(
        self,
        argv: Argv,
        *,
        files: Mapping[str, str | bytes] | None = None,
        collect: Sequence[str] = (),
        **options: Unpack[RunOptions],
    ) -> None:
        """Check the options of the job. Its command runs when the job is given to `Pool.map`.

        :param argv: Arguments of the command. The first one is the name of the program. With the
            option `shell`, a command line instead.
        :param files: Content of files to write into the guest before the command runs, by path.
        :param collect: Paths of files to read after the command, or patterns such as `out/*.csv`.
        :raises UsageError: If the value of an option or a pattern is invalid.
        :raises TypeError: If an option does not exist.
        """
        for path in collect:
            patterns.check(path)
        self._set(
            argv,
            files,
            collect,
            read_options(RunOptions, options, "Job", "argv", "files", "collect"),
        )

    def _set(
        self,
        argv: Argv,
        files: Mapping[str, str | bytes] | None,
        collect: Sequence[str],
        checked: Mapping[str, Any],
    ) -> None:
        # Use `object.__setattr__`, because this class is a frozen dataclass, whose own
        # `__setattr__` raises an error.
        object.__setattr__(self, "argv", argv)
        object.__setattr__(self, "options", checked)
        object.__setattr__(self, "files", files or {})
        object.__setattr__(self, "collect", collect)

    def _with_options(self, checked: Mapping[str, Any]) -> Job:
        """Return a copy of this job with other options, which are already checked."""
        job = Job.__new__(Job)
        job._set(self.argv, self.files, self.collect, checked)
        return job


@dataclass(frozen=True, slots=True)
class Outcome(Generic[O_co]):
    """The outcome of a job: the result of its command in `completed`, or an error in `error`.

    Both are set if the command has run, but a file could not be collected afterwards.

    :ivar job: The job, as it was given to `Pool.map`.
    :ivar seconds: Time that the job took in its machine, in seconds.
    :ivar completed: Result of the command, as `MicroVM.run` returns it.
    :ivar error: Error of the command, such as `StartError`, `ExecTimeout` or `MachineError`, or of
        a file that could not be written or collected.
    :ivar files: Content of the collected files, by path, without those that could not be read.
    """

    job: Job
    seconds: float
    completed: CompletedProcess[O_co] | None = None
    error: Exception | None = None
    files: Mapping[str, bytes] = field(default_factory=dict)

    def result(self) -> CompletedProcess[O_co]:
        """Return `completed`, or raise `error` if it is set.

        :raises Exception: The value of `error`.
        """
        if self.error is not None:
            raise self.error
        assert self.completed is not None  # noqa: S101 - set if `error` is not
        return self.completed


async def carry_out(vm: Machine, job: Job, common: Mapping[str, Any]) -> Outcome[Any]:
    """Write a job's files, run its command with the `common` options, and collect files.

    :param common: Checked options of all jobs. The options of the job take precedence.
    """
    begun = time.monotonic()
    merged = {**common, **job.options}
    how = cast(ExecOptions, merged)
    completed: CompletedProcess[Any] | None = None
    error: Exception | None = None
    files: dict[str, bytes] = {}
    started = False
    try:
        for path, data in job.files.items():
            await vm.write_file(in_folder(path, how), data, **as_user(how))
        started = True
        completed = await vm._run(job.argv, complete_options(RunOptions, merged))
    except Exception as raised:
        error = raised
    # If the command was not started, it has written no files, so there is nothing to collect.
    if completed is not None or (started and isinstance(error, ExecKilled)):
        failed = await _collect(vm, job, how, files)
        error = error or failed
    return Outcome(job, time.monotonic() - begun, completed, error, files)


async def _collect(
    vm: Machine, job: Job, options: ExecOptions, files: dict[str, bytes]
) -> Exception | None:
    """Read the guest's files in `job.collect` into `files`; return the first error, or None.

    If a file cannot be read, continue with the next one. All files together have one limit.

    :param options: Options of the command, for its user and working directory.
    """
    failed: Exception | None = None
    left = parse_size(options.get("max_output") or MAX_COLLECT)
    for pattern in job.collect:
        paths: Sequence[str] = ()
        try:
            paths = await _expanded(vm, pattern, options)
        except Exception as error:
            failed = failed or error
        for path in paths:
            try:
                files[path] = await vm.read_file(
                    in_folder(path, options), max_size=left, **collected(options)
                )
                left -= len(files[path])
            except Exception as error:
                if isinstance(error, FileError):
                    error.hint = error.hint.replace("max_size", "max_output")
                failed = failed or error
    return failed


async def _expanded(vm: Machine, pattern: str, options: ExecOptions) -> Sequence[str]:
    """Return the paths of the files that match a pattern; only `pattern` if it is a path.

    :raises FileError: If no file matches.
    """
    if not patterns.is_pattern(pattern):
        return [pattern]
    found = await vm.glob(pattern, cwd=in_folder("", options), **collected(options))
    paths = [each.name for each in found if each.is_file]
    if not paths:
        raise patterns.no_match(pattern)
    return paths


CommandLines = Iterable[Sequence[Text]] | AsyncIterable[Sequence[Text]]
"""Commands for `Pool.map`, each as a list of arguments."""

Commands = Iterable[Job | Sequence[Text]] | AsyncIterable[Job | Sequence[Text]]
"""Commands for `Pool.map`, each as a list of arguments or as a `Job`."""


async def jobs(commands: Commands) -> AsyncGenerator[Job, None]:
    """Yield a job for each command. Read the next command only when the next job is requested.

    :raises UsageError: If a command is a string instead of a list of arguments.
    """
    if isinstance(commands, AsyncIterable):
        async for command in commands:
            yield _job(command)
    else:
        for command in commands:
            yield _job(command)


def _job(command: Job | Sequence[Text]) -> Job:
    if isinstance(command, str | bytes):
        message = f"a command must be a list of arguments, not {command!r}"
        raise UsageError(message, hint="to use a shell: Job(…, shell=True)")
    return command if isinstance(command, Job) else Job(command)
