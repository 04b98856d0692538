"""The start of a machine as a clone of a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from microvm.errors import BootError, ImageError, QemuError, SnapshotError, TemplateError
from microvm.log import Area
from microvm.options import Confinement
from microvm.qemu.command_line import Memory, QemuConfig
from microvm.qemu.launch import Launched, launch
from microvm.start import origin
from microvm.start.origin import Origin
from microvm.start.starter import CLONE_TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from microvm.images import Image
    from microvm.start.running_vm import RunningVM

_logger = Area("start")
REMEDY = "take the snapshot anew"
"""What to do about one that cannot be used."""


class Restorer:
    """A start of a machine from a guest that was saved, if that fits what is here.

    :param label: what it is called.
    :param made: the guest's origin.
    :param opened: opens it for one QEMU.
    :param console: see `MicroVM`; so is `confinement`.
    :ivar image: the image that the guest has booted.
    :raises SnapshotError, QemuError: as `image_of`.
    """

    def __init__(
        self,
        label: str,
        made: Origin,
        opened: Callable[[], AbstractContextManager[Memory]],
        *,
        console: Path | None,
        confinement: Confinement,
    ) -> None:
        self.image = image_of(label, made)
        self._config = _config(self.image, made)._replace(confinement=confinement)
        self._label = label
        self._opened = opened
        self._console = console
        self._launched: Launched | None = None

    def launch(self) -> None:
        """Spawn QEMU; `clone` goes on with it.

        :raises SnapshotError: it is gone, or is not what was saved.
        :raises ImageError: the disk is full.
        :raises OSError: this process may not have what it takes, such as one more file.
        """
        _logger.info("cloning %s", self._label)
        with self._opened() as memory:
            self._launched = launch(self._config, memory)

    def end(self) -> None:
        """Kill what `launch` has spawned, where nothing has gone on with it."""
        launched, self._launched = self._launched, None
        if launched is not None:
            launched.kill()

    async def clone(self) -> RunningVM:
        """Restore the guest, and wait until it is ready.

        If its QEMU is killed or crashes meanwhile, restore the guest once more, because no boot can
        replace a snapshot.

        :raises SnapshotError: as `launch`; or QEMU reports that it cannot restore the guest.
        :raises BootError: the guest did not become ready.
        :raises QemuError: QEMU does not start.
        """
        try:
            return await self._clone()
        except (QemuError, BootError) as error:
            from microvm.start.retry import is_worthwhile

            if error.qemu_exit is None or not is_worthwhile(error):
                raise
            _logger.warning("cannot clone %s: %s; trying again", self._label, error.message)
        return await self._clone()

    async def _clone(self) -> RunningVM:
        from microvm.start.running_vm import RunningVM

        if self._launched is None:
            self.launch()
        launched, self._launched = self._launched, None
        assert launched is not None  # noqa: S101 - for the type checker
        defaults = self.image.manifest.config.options
        try:
            return await RunningVM.start(launched, self._console, CLONE_TIMEOUT, defaults)
        except TemplateError as error:
            raise SnapshotError(f"{self._label} cannot be used: {error.message}") from error


def image_of(label: str, made: Origin) -> Image:
    """Return the image that a saved guest has booted, if the guest can be restored here.

    :raises SnapshotError: it does not fit this QEMU, this host, or its image, or that is gone.
    :raises QemuError: QEMU, or what confines it, is not installed.
    """
    from microvm.images import load

    try:
        image = load(made.folder or made.image)
    except ImageError as error:
        raise SnapshotError(
            f"{label} cannot be used without its image: {error.message}",
            hint=f"build {made.image} again, or {REMEDY}",
        ) from error
    if why := made.obstacle(origin.origin(image, _config(image, made))):
        raise SnapshotError(f"{label} cannot be used: {why}", hint=REMEDY)
    return image


def _config(image: Image, made: Origin) -> QemuConfig:
    return origin.config(
        image, made.accel, memory=made.memory, cpus=made.cpus, scratch=made.scratch
    )
