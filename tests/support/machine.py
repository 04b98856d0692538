"""A daemon in a real guest, for tests that send it messages without the library."""

from __future__ import annotations

import asyncio

from tests.support.parameters import accelerator

from microvm.images import Image
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.console import Console
from microvm.qemu.launch import launch
from microvm.qemu.process import Qemu


def config_of(image: Image) -> QemuConfig:
    """Return the configuration of a machine with the tests' accelerator, else default options."""
    bus, arch = image.manifest.bus, image.manifest.arch
    config = QemuConfig(
        kernel=image.kernel, initramfs=image.initramfs, bus=bus, accel=accelerator()
    )
    return config._replace(arch=arch)


class RunningGuest:
    """A booted guest whose daemon has received no hello.

    The event loop of QEMU runs only during the methods of this class.

    :ivar stream: blocking socket to the port of the daemon.
    :ivar is_init: True if the daemon is PID 1.
    :ivar deadline: maximum number of seconds for each expected event.
    """

    deadline = 30.0
    is_init = True

    def __init__(self, image: Image) -> None:
        self._loop = asyncio.new_event_loop()
        self._console = Console(None)
        starting = Qemu.start(launch(config_of(image)), console=self._console)
        self._qemu = self._loop.run_until_complete(starting)
        self.stream = self._qemu.take_port()
        self.stream.setblocking(True)

    def report(self) -> str:
        """Return how QEMU exited, if it has, and the last lines of the console."""

        async def ending() -> str:
            try:
                async with asyncio.timeout(1):
                    return (await self._qemu.wait()).text
            except TimeoutError:
                return "QEMU runs"

        text = self._loop.run_until_complete(ending())
        return f"{text}; the console's end:\n{self._console.tail()}"

    def close(self) -> None:
        self.stream.close()
        try:
            self._loop.run_until_complete(self._qemu.stop())
        finally:
            self._console.close()
            self._loop.close()
