"""`python -m tests.kvm`: run tests under KVM, in a machine whose processor TCG emulates."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from subprocess import STDOUT

import click
from tests.kvm import machine, sources
from tests.kvm.plan import LEFT_OUT, TESTS, TestFile
from tests.kvm.results import FileResult, FileResults

from microvm import MicroVM
from microvm.errors import MachineError

ATTEMPTS = 2
"""Number of machines in which a file may run: the kernel of an emulated machine can crash."""

TIMEOUT = 1500
"""Maximum number of seconds for a test file."""

_PYTEST = "python3 -m pytest -q -p no:cacheprovider -o tmp_path_retention_policy=failed".split()


class FilesRunner:
    """A run of test files in emulated machines, which stores each result."""

    def __init__(self, files: Sequence[TestFile], results: FileResults) -> None:
        self._results = results
        self._found = {each.path: results.recall(each.path) for each in files}
        self._files = {each.path: each for each in files}
        self._attempts = dict.fromkeys(self._files, 0)

    @property
    def missing(self) -> list[TestFile]:
        """The files without a result, of which each may still run in a machine."""
        return [
            each
            for each in self._files.values()
            if self._found[each.path] is None and self._attempts[each.path] < ATTEMPTS
        ]

    async def run(self) -> bool:
        """Run all files, and return whether each has passed."""
        while self.missing:
            before = sum(self._attempts.values())
            try:
                async with machine.started() as vm:
                    click.echo("the emulated machine has started, and has a /dev/kvm")
                    await self._run_in(vm)
            except MachineError as error:
                click.echo(f"the emulated machine failed: {error}")
                if sum(self._attempts.values()) == before:
                    raise
        results = [each for each in self._found.values() if each is not None]
        for result in results:
            click.echo(str(result))
        return len(results) == len(self._files) and all(each.is_good for each in results)

    async def _run_in(self, vm: MicroVM) -> None:
        together = [each for each in self.missing if not each.alone]
        alone = [each for each in self.missing if each.alone]

        async def work() -> None:
            while together:
                await self._run_file(vm, together.pop(0))

        lanes = [asyncio.create_task(work()) for _ in range(machine.LANES)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)
        for each in alone:
            await self._run_file(vm, each)

    async def _run_file(self, vm: MicroVM, file: TestFile) -> None:
        self._attempts[file.path] += 1
        begun = time.monotonic()
        limited = ("timeout", "-k", "10", str(TIMEOUT))
        words = [*limited, *_PYTEST, "--accel=kvm", *file.options, file.path]
        done = await vm.run(words, cwd=f"/{sources.SOURCE}", env=machine.ENVIRONMENT, stderr=STDOUT)
        output = done.stdout.decode(errors="replace")
        result = FileResult.of(file.path, done.returncode, time.monotonic() - begun, output)
        path = self._results.store(result, output)
        self._found[file.path] = result
        click.echo(str(result) if result.is_good else f"{result}: {path}")


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
    """Run tests under KVM, in a machine whose processor TCG emulates, or run COMMAND there."""
    if command:
        sys.exit(asyncio.run(_execute(command)))
    folder = sources.BUILD / sources.digest()
    if again:
        shutil.rmtree(folder, ignore_errors=True)
    files = [each for each in TESTS if not only or only in each.path]
    begun = time.monotonic()
    good = asyncio.run(FilesRunner(files, FileResults(folder)).run())
    click.echo(f"left out: {len(LEFT_OUT)} files, for the reasons in CONTRIBUTING.md")
    click.echo(f"{'passed' if good else 'FAILED'} after {(time.monotonic() - begun) / 60:.0f} min")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
