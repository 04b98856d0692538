"""The supervisor process, `python -m microvm.supervisor`, which owns one machine or one pool.

Only the class `Start`, in a client process (the starter), runs it. Its arguments are the name of
the machine and two inherited descriptors: the socket to the starter, and the locked folder of the
machine. The order, which describes the machine, arrives over the socket, as a line of `wire`.
Notices and the reply are sent back. If the starter exits before it has the reply, the machine ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from microvm.concurrency.tasks import cancel
from microvm.constants import MAX_COMMANDS
from microvm.errors import MicroVMError
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.options import NAMED_COMMANDS
from microvm.supervisor.client_connection import ClientConnection
from microvm.supervisor.log import ConsoleLog, open_log
from microvm.supervisor.machine_directory import MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory
from microvm.supervisor.supervised import slots
from microvm.supervisor.supervisor import Supervisor

T = TypeVar("T")


def main() -> None:
    """Fork, exit in the parent process at once, and run the supervisor in the child process."""
    if os.fork():
        os._exit(0)
    os.setsid()
    # Do not exit on SIGHUP, because a machine outlives the session that started it.
    signal.signal(signal.SIGHUP, lambda *_: None)
    os.umask(0o077)
    open_log()
    name, *numbers = sys.argv[1:]
    channel, folder = map(int, numbers)
    for descriptor in (channel, folder):
        os.set_inheritable(descriptor, False)
    directory = MachineDirectory(name, folder, held=True)
    with socket.socket(fileno=channel) as connected, RuntimeDirectory() as runtime:
        connected.setblocking(False)
        asyncio.run(_serve(ClientConnection(connected), runtime, directory))


async def _serve(
    starter: ClientConnection, runtime: RuntimeDirectory, directory: MachineDirectory
) -> None:
    try:
        # Wait without a time limit, because the client may have to build an image before it sends
        # the order to start the machine.
        order = (await starter.request(timed=False))["order"]
    except EOFError:
        return runtime.remove(directory)
    try:
        if order.get("pool"):
            await _serve_pool(starter, runtime, directory, order)
        else:
            await _serve_machine(starter, runtime, directory, order)
    except Exception as error:
        await starter.fail(error)
        if not isinstance(error, MicroVMError):
            raise  # the interpreter then writes the traceback to the log


async def _serve_machine(
    starter: ClientConnection,
    runtime: RuntimeDirectory,
    directory: MachineDirectory,
    order: dict[str, Any],
) -> None:
    supervisor = Supervisor(runtime, directory)
    owned = supervisor.owned
    has_ports = bool(order.get("publish") or order.get("reverse"))
    owned.queue.slots = slots(order["options"].get("commands", NAMED_COMMANDS), ports=has_ports)
    # The queue limits the commands of users, so that this limit can be changed while the machine
    # runs. The machine itself permits all of them, and the command that serves the ports.
    order["options"]["commands"] = MAX_COMMANDS

    async def start() -> None:
        owned.machine = await _attended(starter, _machine(starter, directory, order))
        if has_ports:
            await owned.open_ports(order["publish"], order["reverse"])
        _leave_working_folder()
        supervisor.describe(order)
        await starter.send({"result": {**owned.facts, **owned.ports_facts()}})
        starter.close()

    await supervisor.supervise(start, order)


async def _serve_pool(
    starter: ClientConnection,
    runtime: RuntimeDirectory,
    directory: MachineDirectory,
    order: dict[str, Any],
) -> None:
    from microvm.supervisor.pool import PoolSupervisor  # the supervisors of machines need no pool

    supervisor, notify = PoolSupervisor(runtime, directory), _notices(starter)

    async def start() -> None:
        facts = await _attended(starter, supervisor.start(order, notify))
        _leave_working_folder()
        await starter.send({"result": facts})
        starter.close()

    await supervisor.supervise(start, order)


async def _machine(
    starter: ClientConnection, directory: MachineDirectory, order: dict[str, Any]
) -> MicroVM:
    """Start the machine that `order` describes; send notices to `starter`, the client that sent it.

    The working folder is still that of the starter, so relative paths refer to it.
    """
    snapshot = order.get("snapshot")
    machine = MicroVM(
        order.get("image") if snapshot is None else Snapshot.find(snapshot),
        **order["options"],
        notify=_notices(starter),
    )
    try:
        await machine.start()
        machine._listen_to_console(ConsoleLog(directory).write)
    except BaseException:
        await machine.stop()
        raise
    return machine


def _notices(starter: ClientConnection) -> Callable[[str], None]:
    """Return a function that sends a notice to the starter, from any thread."""
    loop = asyncio.get_running_loop()
    notices: set[asyncio.Task[None]] = set()

    def send(text: str) -> None:
        notice = loop.create_task(starter.send({"notice": text}))
        notices.add(notice)
        notice.add_done_callback(notices.discard)

    def notify(text: str) -> None:
        loop.call_soon_threadsafe(send, text)

    return notify


async def _attended(starter: ClientConnection, start: Coroutine[Any, Any, T]) -> T:
    """Await `start`, which starts a machine; cancel it if `starter`, its client, disconnects."""
    starting = asyncio.create_task(start)
    attending = asyncio.create_task(_disconnected(starter))
    try:
        await asyncio.wait({starting, attending}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            raise MicroVMError("the process that started it has exited")
        return starting.result()
    finally:
        await cancel([attending, starting])


async def _disconnected(starter: ClientConnection) -> None:
    async for _ in starter.lines():
        pass


def _leave_working_folder() -> None:
    """Change to the folder `/`, after making the relative paths in the environment absolute.

    Otherwise the supervisor would keep the working folder of the starter in use.
    """
    for name in ("MICROVM_CACHE", "MICROVM_ROOTFS", "TMPDIR"):
        if value := os.environ.get(name):
            os.environ[name] = os.path.abspath(value)
    os.chdir("/")


if __name__ == "__main__":
    main()
