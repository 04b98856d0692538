"""`python -m tests.kvm`: run tests under KVM, in machines whose processor TCG emulates."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from subprocess import STDOUT

import click
from tests.kvm import cpu_models, image, machine, sources
from tests.kvm.plan import LEFT_OUT, TESTS, TestFile
from tests.kvm.results import FileResult, FileResults

from microvm import MicroVM
from microvm.errors import MachineError, MicroVMError

ATTEMPTS = 2
"""Maximum number of emulated machines in which a test file is started, because one may crash."""

TIMEOUT = 600
"""Maximum number of seconds for a test file."""

# If a test hangs, show where.
_PYTEST = (
    "python3 -m pytest -q -p no:cacheprovider -o tmp_path_retention_policy=failed "
    "-o faulthandler_timeout=300"
).split()


class FilesRunner:
    """A run of test files in several emulated machines, which stores each result."""

    def __init__(self, files: Sequence[TestFile], results: FileResults) -> None:
        self._results = results
        self._found = {each.path: results.recall(each.path) for each in files}
        self._waiting = deque(each for each in files if self._found[each.path] is None)
        self._crashes = Counter[str]()

    async def run(self) -> bool:
        """Run all files, and return whether each has passed."""
        if self._waiting:
            image.find()  # build it once, and not in each machine
        async with asyncio.TaskGroup() as group:
            for number in range(min(machine.MACHINES, len(self._waiting))):
                group.create_task(self._run_in_machine(number))
        results = [each for each in self._found.values() if each is not None]
        for result in results:
            click.echo(str(result))
        return len(results) == len(self._found) and all(each.is_good for each in results)

    async def _run_in_machine(self, number: int) -> None:
        """Run waiting files, one after the other. If the machine fails, start another."""
        failed_starts = 0
        while self._waiting:
            try:
                async with machine.started(number) as vm:
                    click.echo(f"emulated machine {number} has started, and has a /dev/kvm")
                    while self._waiting and await self._run_file(vm, self._waiting.popleft()):
                        pass
            except MicroVMError as error:
                click.echo(f"emulated machine {number} has not started: {error}")
                failed_starts += 1
                if failed_starts == ATTEMPTS:
                    raise

    async def _run_file(self, vm: MicroVM, file: TestFile) -> bool:
        """Run a file. Return False if the machine has failed; then the file may run again."""
        begun = time.monotonic()
        limited = ("timeout", "-k", "10", str(TIMEOUT))
        words = [*limited, *_PYTEST, "--accel=kvm", *file.options, file.path]
        failure = ""
        try:
            done = await vm.run(
                words, cwd=f"/{sources.SOURCE}", env=machine.ENVIRONMENT, stderr=STDOUT
            )
            code, output = done.returncode, done.stdout.decode(errors="replace")
        except MachineError as error:
            failure = f"the emulated machine has failed: {error}"
            self._crashes[file.path] += 1
            if self._crashes[file.path] < ATTEMPTS:
                click.echo(f"{file.path}: {failure}; it runs again")
                self._waiting.append(file)
                return False
            code, output = 1, failure
        result = FileResult.of(file.path, code, time.monotonic() - begun, output)
        path = self._results.store(result, output)
        self._found[file.path] = result
        click.echo(str(result) if result.is_good else f"{result}: {path}")
        return not failure


async def _execute(words: Sequence[str]) -> int:
    """Run one command in the emulated machine, show its output, and return its exit status."""
    async with (
        machine.started() as vm,
        await vm.exec(
            words, cwd=f"/{sources.SOURCE}", env=machine.ENVIRONMENT, stderr=STDOUT
        ) as process,
    ):
        async for data in process.stdout:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        return await process.wait()


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--again", is_flag=True, help="Run all files, also those that have passed.")
@click.option("--only", metavar="TEXT", help="Run only the files whose name contains TEXT.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def main(again: bool, only: str | None, command: tuple[str, ...]) -> None:
    """Run tests under KVM, in machines whose processor TCG emulates, or run COMMAND in one."""
    if command:
        sys.exit(asyncio.run(_execute(command)))
    folder = sources.BUILD / sources.digest()
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    files = [each for each in TESTS if not only or only in each.path]
    begun = time.monotonic()
    results = FileResults(folder)
    good = asyncio.run(FilesRunner(files, results).run())
    if not only:
        good &= cpu_models.is_good(results)
    click.echo(f"left out: {len(LEFT_OUT)} files, for the reasons in CONTRIBUTING.md")
    click.echo(f"{'passed' if good else 'FAILED'} after {(time.monotonic() - begun) / 60:.0f} min")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
