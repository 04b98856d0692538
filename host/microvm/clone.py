"""Starting a machine as a clone of a template, which is made on the way if there is none."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from microvm import template
from microvm.accel import Verdicts, host_cpu
from microvm.errors import ImageError, MachineError, QemuError, TemplateError
from microvm.launch import Launched, find_qemu, launch, qemu_arguments
from microvm.qemu_command import QemuConfig
from microvm_image import cache

if TYPE_CHECKING:
    from microvm.life import Life
    from microvm_image.image import Manifest

CLONE_TIMEOUT = 20.0
"""Seconds from QEMU's start to a clone's `ready`."""


class Start:
    """One start of a machine.

    :param image: what the image says of itself.
    :param console: see `MicroVM`.
    :param timeout: of a boot, in seconds.
    :param notify: called with a line when a template could not be used, or not be made.
    :ivar cloned: whether it became a clone.
    """

    def __init__(
        self,
        image: Manifest,
        config: QemuConfig,
        *,
        console: Path | None,
        timeout: float,
        notify: Callable[[str], None],
    ) -> None:
        self.cloned = False
        self._launched: Launched | None = None
        self._image = image.name
        self._config = config
        self._console = console
        self._timeout = timeout
        self._notify = notify
        self._program = find_qemu(config.arch)
        self._name = f"{image.name}-{_shape(image, config, self._program)}"
        self._verdicts = Verdicts(cache.root(), self._program, f"clone-{config.accel}")

    def launch(self, *, cold: bool) -> None:
        """Spawn QEMU already, to boot or, if there is a template, to clone.

        `cold` or `warm` goes on with it. What is wrong is found again there, and is said there.
        """
        with suppress(TemplateError, QemuError, ImageError):
            if cold or self._verdicts.recall() is False:
                self._launched = launch(self._config)
            else:
                self._launched = self._launch_clone()

    def end(self) -> None:
        """End what `launch` has spawned, where nothing has gone on with it."""
        launched, self._launched = self._launched, None
        if launched is not None:
            launched.kill()

    async def cold(self) -> Life:
        """Boot.

        :raise BootError: the guest did not become ready.
        :raise QemuError: QEMU does not start.
        """
        launched, self._launched = self._launched, None
        return await self._begin(launched or launch(self._config), self._console, self._timeout)

    async def warm(self) -> Life:
        """Clone, and make a template before, if there is none; boot where there can be none.

        :raise BootError: the guest did not become ready, not by booting either.
        :raise QemuError: QEMU does not start.
        """
        if self._verdicts.recall() is False:
            return await self.cold()
        try:
            if life := await self._clone():
                return life
        except TemplateError as error:
            self._notify(f"{error.message}; making it anew")
        try:
            await self._make()
            if life := await self._clone():
                return life
        except ImageError as error:
            self._notify(f"no template can be saved: {error}; booting instead")
        except TemplateError as error:
            life = await self.cold()
            self._give_up(error, life)
            return life
        return await self.cold()

    def _give_up(self, error: TemplateError, life: Life) -> None:
        """A guest that was saved just now is not restored, but it boots: nor will it tomorrow.

        Unless the host is so busy that a boot, too, takes longer than a clone may.
        """
        text = f"this QEMU makes no clones: {error.message}; booting instead"
        if life.times.ready - life.times.begun < CLONE_TIMEOUT:
            self._verdicts.remember(works=False)
            text += f" from now on (without {self._verdicts.path}, it is tried again)"
        self._notify(text)

    async def _clone(self) -> Life | None:
        """A clone that is ready; None if there is no template.

        :raise TemplateError: there is one, and it cannot be used; now it is gone.
        """
        launched, self._launched = self._launched, None
        try:
            launched = launched or self._launch_clone()
            if launched is None:
                return None
            life = await self._begin(launched, self._console, CLONE_TIMEOUT)
        except (QemuError, MachineError) as error:
            with suppress(TemplateError, ImageError):  # another was faster, or nobody can
                template.remove(self._name)
            raise TemplateError(f"cannot clone {self._name}: {error.message}") from error
        self.cloned = True
        return life

    def _launch_clone(self) -> Launched | None:
        with template.opened(self._name) as memory:
            return None if memory is None else launch(self._config, memory)

    async def _begin(self, launched: Launched, console: Path | None, timeout: float) -> Life:
        from microvm.console import Console
        from microvm.life import Life

        try:
            log = Console(console)
        except BaseException:
            launched.kill()
            raise
        return await Life.begin(launched, log, timeout)

    async def _make(self) -> None:
        """Boot a guest and save it, unless another process does that first.

        :raise TemplateError: it cannot be saved.
        """
        from microvm.threads import in_thread
        from microvm.warming import warm

        template.limit()  # what is wrong with it is said before a boot, not after
        async with template.locked(self._name, self._notify):
            if self._is_there():
                return
            with template.blank() as memory:
                try:
                    life = await self._begin(launch(self._config, memory), None, self._timeout)
                    try:
                        await warm(life.guest.run)
                        await life.qemu.save()
                    finally:
                        await life.end()
                except QemuError as error:
                    raise TemplateError(error.message) from error
                await in_thread(
                    template.save,
                    memory,
                    name=self._name,
                    image=self._image,
                    qemu=self._program,
                    accel=self._config.accel,
                    megabytes=self._config.memory,
                    cpus=self._config.cpus,
                    copied=not life.qemu.maps_readonly,
                )

    def _is_there(self) -> bool:
        try:
            with template.opened(self._name) as memory:
                return memory is not None
        except TemplateError:
            return False


def _shape(image: Manifest, config: QemuConfig, program: Path) -> str:
    """A digest of everything that shapes the guest: QEMU, its arguments, and what it loads.

    Nothing in it changes when the cache, or the container that it is in, is copied.
    """
    build = program.stat()
    facts = (
        template.FORMAT,
        qemu_arguments(config),
        (build.st_size, build.st_mtime_ns),
        (image.kernel_sha256, image.initramfs_sha256),
        (host_cpu(), os.uname().release) if config.accel != "tcg" else None,
    )
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
