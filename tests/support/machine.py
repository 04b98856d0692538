"""A daemon in a real guest, for tests that send it messages without the library."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.support.parameters import accelerator

from microvm.images import Image
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.console import Console
from microvm.qemu.launch import launch
from microvm.qemu.process import Qemu

T = TypeVar("T")


def config_of(image: Image) -> QemuConfig:
    """Return the configuration of a machine with the tests' accelerator, else default options."""
    bus, arch = image.manifest.bus, image.manifest.arch
    return QemuConfig(image.kernel, image.initramfs, bus, accelerator(), arch)


class RunningGuest:
    """A booted guest whose daemon has received no hello.

    The event loop of QEMU runs in a thread, which reads the guest's console. An aarch64 guest stops
    if nobody reads its console.

    :ivar stream: blocking socket to the port of the daemon.
    :ivar is_init: True if the daemon is PID 1.
    :ivar deadline: maximum number of seconds for each expected event.
    """

    deadline = 30.0
    is_init = True

    def __init__(self, image: Image) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._console = Console(None)
        try:
            self.stream = self._run(self._start(image))
        except BaseException:
            self._end()
            raise
        self.stream.setblocking(True)

    async def _start(self, image: Image) -> socket.socket:
        self._qemu = await Qemu.start(launch(config_of(image)), console=self._console)
        return self._qemu.take_port()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def report(self) -> str:
        """Return how QEMU exited, if it has, and the last lines of the console."""

        async def ending() -> str:
            try:
                async with asyncio.timeout(1):
                    return (await self._qemu.wait()).text
            except TimeoutError:
                return "QEMU runs"

        text = self._run(ending())
        return f"{text}; the console's end:\n{self._console.tail()}"

    def close(self) -> None:
        self.stream.close()
        try:
            self._run(self._qemu.stop())
        finally:
            self._end()

    def _end(self) -> None:
        self._console.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
