"""Check after a fault that nothing remains, and that the template is still used."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import adopting, children, open_files

from microvm.start import template

from .state import FaultScene


@dataclass(frozen=True)
class Traces:
    """Everything that a machine could leave on this host.

    Sockets, pipes and memory are descriptors; locks are files of the cache.
    """

    children: set[int]
    descriptors: dict[int, str]
    files: set[Path]
    threads: set[threading.Thread]

    @classmethod
    def now(cls, *folders: Path) -> Traces:
        """Return the present traces. Zombies and adopted orphans count as children."""
        gc.collect()  # so that unclosed objects warn now
        return cls(
            set(children(os.getpid())),
            open_files(),
            {path for folder in folders for path in folder.rglob("*")},
            set(threading.enumerate()),
        )


@contextmanager
def nothing_left(*folders: Path) -> Iterator[None]:
    """Check that the block leaves no process, descriptor, file, thread, task or warning.

    The block may create a template. Folders of templates may remain.

    :param folders: the cache, and the folder for temporary files.
    """
    with adopting(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        before, tasks = Traces.now(*folders), asyncio.all_tasks()
        yield
        after = Traces.now(*folders)
        _none("process", after.children - before.children)
        _none("descriptor", after.descriptors.items() - before.descriptors.items())
        _none("file", _unexpected(after.files - before.files))
        _none("thread", after.threads - before.threads)
        _none("task", asyncio.all_tasks() - tasks)
        gone = before.files - after.files
        assert not gone, f"gone: {gone}"
    _none("warning", [str(each.message) for each in warned])


def _none(what: str, left: Collection[object]) -> None:
    assert not left, f"a {what} is left: {left}"


def _unexpected(files: set[Path]) -> set[Path]:
    """Return the files that belong to no complete template."""
    whole = {template.STORE.path(each.name) for each in template.STORE.installed() if not each.flaw}
    return {file for file in files if file.is_file() and file.parent not in whole}


def identities() -> set[tuple[str, int, int]]:
    """Return values that change when a template is saved again, by template."""
    found = set()
    for ram in template.STORE.folder.glob("[!.]*/ram"):
        with suppress(FileNotFoundError):
            found.add((ram.parent.name, ram.stat().st_ino, ram.stat().st_ctime_ns))
    return found


async def uses_its_template(scene: FaultScene) -> None:
    """Check that the next start is a clone, without a notice to its user."""
    before = identities()
    scene.told.clear()
    async with scene.machine() as machine:
        assert machine.cloned
        assert (await machine.run(["echo", "hello"])).stdout == b"hello\n"
    assert scene.told == []
    assert identities() >= before, "the template was made anew"
