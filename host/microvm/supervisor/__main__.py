"""The process of a supervisor, `python -m microvm.supervisor`; only its starter runs it.

Its arguments are the name and numbers of descriptors that it inherits: the channel to its starter,
and the machine's folder, which is locked. Over the channel comes an order, a line as on the wire;
notices go back, and a reply. A starter that goes before it has the reply takes the machine with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from typing import Any

from microvm.concurrency.tasks import cancel
from microvm.errors import MicroVMError
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.supervisor.client_connection import ClientConnection
from microvm.supervisor.log import ConsoleLog, open_log
from microvm.supervisor.machine_directory import MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.supervisor.supervisor import Supervisor


def main() -> None:
    """Supervise a machine until its end, as nobody's child: no starter has to wait for us."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, lambda *_: None)  # the end of a session is none of a machine
    os.umask(0o077)
    open_log()
    name, *numbers = sys.argv[1:]
    channel, folder = map(int, numbers)
    for descriptor in (channel, folder):
        os.set_inheritable(descriptor, False)
    with socket.socket(fileno=channel) as connected, RuntimeDirectory() as runtime:
        connected.setblocking(False)
        asyncio.run(
            _serve(ClientConnection(connected), runtime, MachineDirectory(name, folder, held=True))
        )


async def _serve(
    starter: ClientConnection, runtime: RuntimeDirectory, directory: MachineDirectory
) -> None:
    try:
        order = (await starter.request(timed=False))["order"]  # an image may have to be built
    except EOFError:
        return runtime.remove(directory)
    supervisor = Supervisor(runtime, directory)

    async def start() -> None:
        supervisor.machine = await _attended(starter, _machine(starter, directory, order))
        _leave_the_starters_folder()
        supervisor.describe(order)
        await starter.send({"result": supervisor.facts})
        starter.close()

    try:
        await supervisor.supervise(start, order)
    except Exception as error:
        await starter.fail(error)
        if not isinstance(error, MicroVMError):
            raise  # into the log


async def _machine(
    starter: ClientConnection, directory: MachineDirectory, order: dict[str, Any]
) -> MicroVM:
    """Start the machine that was ordered, in the folder of whoever ordered it."""
    loop = asyncio.get_running_loop()
    notices: set[asyncio.Task[None]] = set()

    def tell(text: str) -> None:
        notices.add(loop.create_task(starter.send({"notice": text})))

    def notify(text: str) -> None:
        loop.call_soon_threadsafe(tell, text)

    snapshot = order.get("snapshot")
    machine = MicroVM(
        order.get("image") if snapshot is None else Snapshot.find(snapshot),
        **order["options"],
        notify=notify,
    )
    try:
        await machine.start()
        machine._listen_to_console(ConsoleLog(directory).write)
    except BaseException:
        await machine.stop()
        raise
    return machine


async def _attended(starter: ClientConnection, start: Any) -> MicroVM:
    """Start a machine, unless its starter goes meanwhile.

    :raises EOFError: it has gone.
    """
    starting: asyncio.Task[MicroVM] = asyncio.ensure_future(start)
    attending = asyncio.create_task(_gone(starter))
    try:
        await asyncio.wait({starting, attending}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            raise MicroVMError("whoever started it has gone")
        return starting.result()
    finally:
        await cancel([attending, starting])


async def _gone(starter: ClientConnection) -> None:
    async for _ in starter.lines():
        pass


def _leave_the_starters_folder() -> None:
    """Go where nobody minds, and have what was relative to where we were still mean the same."""
    for name in ("MICROVM_CACHE", "MICROVM_ROOTFS", "TMPDIR"):
        if value := os.environ.get(name):
            os.environ[name] = os.path.abspath(value)
    os.chdir("/")


if __name__ == "__main__":
    main()
