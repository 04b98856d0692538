"""A Jupyter kernel that runs one cell at a time, as a notebook does."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from signal import SIGINT
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from jupyter_client.provisioning.local_provisioner import LocalProvisioner
from jupyter_core.utils import ensure_event_loop
from tests.support.processes import children

DEADLINE = 120.0


@dataclass
class Shown:
    """The output of a cell: the text of both streams in order, the value, and the error's lines."""

    streams: list[tuple[str, str]] = field(default_factory=list)
    value: str = ""
    error: list[str] = field(default_factory=list)
    help: str = ""
    displays: list[dict[str, str]] = field(default_factory=list)

    def __getattr__(self, name: str) -> str:
        return "".join(text for stream, text in self.streams if stream == name)


class JupyterKernel:
    """A running kernel and its client."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager = manager
        self._client = client
        assert isinstance(manager.provisioner, LocalProvisioner)
        self.pid = manager.provisioner.pid or 0

    def run(self, code: str, *, interrupt_at: str = "", again: bool = False) -> Shown:
        """Run a cell. Interrupt it when it has written the text `interrupt_at`, if given."""
        shown = Shown()

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    before = shown.stdout
                    shown.streams.append((content["name"], content["text"]))
                    if interrupt_at and interrupt_at not in before and interrupt_at in shown.stdout:
                        self._manager.interrupt_kernel()
                        if again:
                            threading.Timer(0.3, os.kill, (self.pid, SIGINT)).start()
                case "execute_result":
                    shown.value = content["data"]["text/plain"]
                case "display_data":
                    shown.displays.append(content["data"])
                case "error":
                    shown.error = content["traceback"]

        reply = self._client.execute_interactive(code, output_hook=take, timeout=DEADLINE)
        for page in reply["content"].get("payload", []):
            shown.help += page["data"]["text/plain"]
        return shown

    def machines(self) -> int:
        """Return the number of QEMU processes of the kernel."""
        return len(children(self.pid))


@contextmanager
def running(manager: KernelManager, **options: Any) -> Iterator[JupyterKernel]:
    """Start a kernel, and shut it down at the end.

    :param options: Options of the kernel's process.
    """
    manager.start_kernel(**options)
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=DEADLINE)
        yield JupyterKernel(manager, client)
        client.stop_channels()
        manager.shutdown_kernel()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
        ensure_event_loop().close()  # the client created an event loop and does not close it
