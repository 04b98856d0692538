"""Snapshots of machines in which Python has started and imported modules.

Such a snapshot is stored as a template, because it contains nothing of the user and can be taken
again at any time. Its name ends in a digest of everything that determines its content. If the
templates take too much room on the disk, the least recently used ones are removed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from microvm.concurrency.threads import in_stoppable_thread
from microvm.errors import CacheError, InterpreterError, TemplateError
from microvm.images import Image, readymade
from microvm.interpreter import launch
from microvm.interpreter.connection import InterpreterConnection
from microvm.interpreter.escalation import GRACE
from microvm.interpreter.program import program
from microvm.log import Area
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions
from microvm.start import origin, saved, template
from microvm.start.accelerator import AcceleratorChoice
from microvm.wire.interpreter import CellEnding, Result

_IMPORT_TIMEOUT = 600.0
_WARM_UP_TIMEOUT = 60.0

_logger = Area("start")


@dataclass(frozen=True, slots=True)
class Preparation:
    """Everything that determines the content of a snapshot with an interpreter.

    :ivar imports: Names of the modules that the interpreter has imported.
    :ivar options: Options of the machine.
    """

    image: Image
    imports: tuple[str, ...]
    options: ParsedOptions

    @classmethod
    async def of(
        cls,
        image: Image | str | Path,
        packages: tuple[str, ...],
        imports: tuple[str, ...],
        options: ParsedOptions,
    ) -> Self:
        """Find or build the image with the packages, and return its preparation.

        If `image` is a ready-made image that does not exist, build it first.
        """
        notify, arch = options["notify"], options["arch"]
        if not packages:
            return cls(await readymade.find_or_build(image, notify, arch), imports, options)
        from microvm_image.pip.image import find_or_build

        return cls(await find_or_build(image, packages, notify, arch), imports, options)

    async def snapshot(self, *, again: bool = False) -> Snapshot:
        """Return the snapshot. It is taken and stored if it does not exist yet.

        If it cannot be stored, for example because the disk is full, it exists only in the memory
        of this process, and the user is notified.

        :param again: True to replace the stored snapshot, because it cannot be used.
        """
        name = self._name()
        if not again and (found := _find(name)) is not None:
            return found
        taken: Snapshot | None = None
        notices: list[str] = []

        def notify(text: str) -> None:
            notices.append(text)
            self.options["notify"](text)

        try:
            if not self.image.is_ours:
                raise CacheError(f"{self.image.path} can be changed by others")
            async with template.locked(name, notify):
                # Another process may have stored the snapshot before it released the lock.
                if not again and (found := _find(name)) is not None:
                    return found
                taken = await self._take(notify)
                await in_stoppable_thread(taken._keep_as_template, name)
                _logger.info("saved template %s", name)
        except CacheError as error:
            taken = taken or await self._take(notify)
            # `_take` starts a machine, which also saves a template, so the user may already have a
            # notice with this error.
            if not any(error.message in each for each in notices):
                notify(f"the next start will be as slow, because no template can be saved: {error}")
        return taken

    def _name(self) -> str:
        """Return the name of the template."""
        options, arch = self.options, self.image.manifest.arch
        [accel, *_] = AcceleratorChoice(options["accel"], arch, options["notify"]).candidates
        config = origin.config(
            self.image,
            accel,
            memory=options["memory"] >> 20,
            cpus=options["cpus"],
            scratch=options["disk"],
        )
        manifest = self.image.manifest
        content = (
            *(origin.origin(self.image, config).requirements, saved.FORMAT),
            *(manifest.config, manifest.warm, self.imports, program()),
        )
        return f"{self.image.name}-python-{origin.digest(content)[:12]}"

    async def _take(self, notify: Callable[[str], None]) -> Snapshot:
        """Start an interpreter in a new machine, let it import the modules, and take a snapshot.

        :param notify: Function that is called with a notice for the user.
        """
        modules = f" and importing {', '.join(self.imports)}" if self.imports else ""
        async with MicroVM._from_options(self.image, self.options.replace(notify=notify)) as vm:
            if vm.cloned:  # otherwise no template can be saved, and the user was notified of that
                notify(f"starting Python{modules} in {self.image.name}; later starts are faster")
            await launch.start(vm)
            connection = await InterpreterConnection.open(vm, launch.SOCKET)
            try:
                if self.imports:
                    await import_modules(connection, self.imports)
                await _warm_up(connection)
            finally:
                await connection.close()
            return await vm.checkpoint()


def _find(name: str) -> Snapshot | None:
    """Return the snapshot in a template; None if it does not exist or is damaged."""
    with suppress(TemplateError):
        return Snapshot._of_template(name)
    return None


async def import_modules(connection: InterpreterConnection, modules: tuple[str, ...]) -> None:
    """Import modules in a cell, so that their names are variables of the next cells.

    :raises InterpreterError: If a module cannot be imported.
    """
    result = await _run(connection, "\n".join(f"import {module}" for module in modules))
    if result.ending is not CellEnding.COMPLETED:
        raise InterpreterError(
            f"cannot import {', '.join(modules)}: {result.error_type}: {result.error_message}",
            hint="packages=, or --packages of `microvm python`, installs packages",
        )


async def _warm_up(connection: InterpreterConnection) -> None:
    """Let the interpreter import the modules that it needs only for some cells and requests."""
    requests = partial(connection.session.assign, "_", "0"), partial(connection.session.fetch, "_")
    for request in requests:
        await connection.request(request(), None, timeout=_WARM_UP_TIMEOUT, grace=GRACE)
    # The first line imports asyncio, and the last one imports `traceback`.
    await _run(connection, "await __import__('asyncio').sleep(0)\ndel _\n1 / 0")


async def _run(connection: InterpreterConnection, code: str) -> Result:
    frame = connection.session.run(code)
    result, _ = await connection.request(frame, None, timeout=_IMPORT_TIMEOUT, grace=GRACE)
    assert isinstance(result, Result)  # noqa: S101 - the session refuses other answers
    return result
