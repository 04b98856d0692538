"""Checks whether a snapshot fits other processors, which QEMU emulates by other CPU models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import click
from tests.kvm import machine, sources
from tests.kvm.results import FileResult, FileResults

from microvm import MicroVM, MicroVMError, arches

CHANGES = {
    "model-id=Other": "",
    "-avx2,-bmi2": "this processor lacks avx2, bmi2",
}
"""Changes of the emulated CPU model. For each, the error with which a start from the snapshot must
fail; empty if the start must succeed."""

_RUN = ("microvm", "run", "-q", "--accel=kvm")


NAME = "snapshots on other CPU models"


def is_good(results: FileResults) -> bool:
    """Return whether the check has passed, now or in an earlier run. Store its result."""
    if results.recall(NAME):
        return True
    begun = time.monotonic()
    try:
        good = asyncio.run(_check())
    except MicroVMError as error:
        good = False
        click.echo(f"FAILED {NAME}: {error}")
    passed = len(CHANGES) if good else 0
    result = FileResult(NAME, int(not good), time.monotonic() - begun, passed)
    results.store(result, "")
    return good


async def _check() -> bool:
    """Save a snapshot in one emulated machine. Return whether it fits the other CPU models."""
    with TemporaryDirectory() as folder:
        snapshots = Path(folder, "snapshots")
        async with machine.started() as vm:
            status, output = await _run(vm, "--cold", "--save=moved", "--", "true")
            if status:
                raise MicroVMError(f"no snapshot was saved: {output}")
            await vm.get(f"/{sources.CACHE}/snapshots", snapshots)
        found = []
        for change, error in CHANGES.items():
            found.append(await _fits(snapshots, change, error))
    return all(found)


async def _fits(snapshots: Path, change: str, error: str) -> bool:
    """Return whether a start from the snapshot succeeds, or fails with this `error`."""
    with _cpu_model(change):
        async with machine.started() as vm:
            await vm.put(snapshots, f"/{sources.CACHE}/snapshots")
            status, output = await _run(vm, "--from=moved", "--", "echo", "hello")
    good = error in output and status == 125 if error else (status, output) == (0, "hello\n")
    verdict = "ok    " if good else "FAILED"
    click.echo(f"{verdict} a snapshot on a processor with {change}: {output.strip()}")
    return good


async def _run(vm: MicroVM, *words: str) -> tuple[int, str]:
    done = await vm.run(
        [*_RUN, *words], env=machine.ENVIRONMENT, text=True, stderr=asyncio.subprocess.STDOUT
    )
    return done.returncode, done.stdout


@contextmanager
def _cpu_model(change: str) -> Iterator[None]:
    """Context manager: machines that are started in its block have a changed CPU model."""
    arch = arches.find()
    changed = arch._replace(cpu={**arch.cpu, "tcg": f"{arch.cpu['tcg']},{change}"})
    with patch.dict(arches.ARCHES, {arch.name: changed}):
        yield
