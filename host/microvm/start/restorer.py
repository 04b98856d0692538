"""The start of a machine from a saved guest, such as a snapshot."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from microvm import start
from microvm.errors import BootError, ImageError, QemuError, SnapshotError, TemplateError
from microvm.images import Image, load
from microvm.log import Area
from microvm.options import Confinement
from microvm.qemu.command_line import Memory
from microvm.qemu.launch import Launched, launch
from microvm.start import origin
from microvm.start.origin import Origin
from microvm.start.starter import CLONE_TIMEOUT

_logger = Area("start")
REMEDY = "take the snapshot again"
"""Hint for the user in the errors about snapshots that cannot be used."""


class Restorer:
    """The start of a machine from a saved guest.

    :param label: Name of the saved guest for messages.
    :param opened: Function that opens the files of the saved guest for one QEMU.
    :ivar image: Image that the saved guest has booted.
    :raises SnapshotError, QemuError: As for `image_of`.
    """

    def __init__(
        self,
        label: str,
        saved_origin: Origin,
        opened: Callable[[], AbstractContextManager[Memory]],
        console: Path | None,
        confinement: Confinement,
    ) -> None:
        self.image = image_of(label, saved_origin)
        self._config = saved_origin.config(self.image)._replace(confinement=confinement)
        self._label = label
        self._opened = opened
        self._console = console
        self._launched: Launched | None = None

    def launch(self) -> None:
        """Launch QEMU before it is needed; `clone` later uses this QEMU.

        :raises SnapshotError: If the saved guest was removed or is damaged.
        """
        _logger.info("cloning %s", self._label)
        with self._opened() as memory:
            self._launched = launch(self._config, memory)

    def end(self) -> None:
        """Kill the QEMU that `launch` has launched, unless `clone` has used it."""
        launched, self._launched = self._launched, None
        if launched is not None:
            launched.kill()

    async def clone(self) -> start.RunningVM:
        """Restore the saved guest in a QEMU, and wait until the guest is ready.

        If QEMU is killed or crashes meanwhile, restore the guest a second time. In contrast to a
        template, a snapshot cannot be replaced by a boot.

        :raises SnapshotError: As for `launch`, or if QEMU cannot restore the guest.
        :raises BootError: If the guest did not become ready.
        :raises QemuError: If QEMU does not start.
        """
        try:
            return await self._clone()
        except (QemuError, BootError) as error:
            if error.qemu_exit is None or not start.is_worthwhile(error):
                raise
            _logger.warning("cannot clone %s: %s; trying again", self._label, error.message)
        return await self._clone()

    async def _clone(self) -> start.RunningVM:
        if self._launched is None:
            self.launch()
        launched, self._launched = self._launched, None
        assert launched is not None  # noqa: S101 - `launch` has set it
        defaults = self.image.manifest.config.options
        try:
            return await start.RunningVM.start(launched, self._console, CLONE_TIMEOUT, defaults)
        except TemplateError as error:
            raise SnapshotError(f"{self._label} cannot be used: {error.message}") from error


def image_of(label: str, saved_origin: Origin) -> Image:
    """Return the image of the saved guest `label`, after checking that this host can restore it.

    :raises SnapshotError: If the guest was saved with another QEMU or on a different host, or if
        its image was changed or removed.
    :raises QemuError: If QEMU or the launcher is not installed, or if the guest was saved under
        KVM, which cannot be used now. The saved guest can be used when this is repaired.
    """
    try:
        image = load(saved_origin.folder or saved_origin.image)
    except ImageError as error:
        raise SnapshotError(
            f"{label} cannot be used without its image: {error.message}",
            hint=f"build {saved_origin.image} again, or {REMEDY}",
        ) from error
    if lack := saved_origin.lack():
        message = f"{label} cannot be used now: it was saved under KVM, and {lack.text}"
        raise QemuError(message, hint=lack.hint)
    if why := saved_origin.obstacle(origin.origin(image, saved_origin.config(image))):
        raise SnapshotError(f"{label} cannot be used: {why}", hint=REMEDY)
    return image
