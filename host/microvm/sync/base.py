"""The public class `Machine` for programs without `async`."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Self, Unpack

from microvm.machine import base
from microvm.machine.streams import CONNECT_TIMEOUT, LOOPBACK
from microvm.option import document_options
from microvm.options import Argv, Confinement, ExecOptions, MachineOptions
from microvm.sync.bound import LoopBound, blocking
from microvm.sync.forks import Forks
from microvm.sync.forward import Forward
from microvm.sync.process import Process
from microvm.sync.reverse import Reverse, ReverseTarget, asynchronous
from microvm.units import Duration, parse_count

if TYPE_CHECKING:
    from microvm.sync.machine import MicroVM


class Machine(LoopBound):
    """A running machine: a `MicroVM` or an `AttachedVM`; see `microvm.Machine`."""

    _original: base.Machine

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        raise NotImplementedError

    def __repr__(self) -> str:
        return repr(self._original)

    @property
    def id(self) -> str:
        """The text that identifies the machine; see `microvm.Machine`."""
        return self._original.id

    @property
    def confinement(self) -> Confinement:
        """The value of the option `confinement`: how QEMU is restricted on the host."""
        return self._original.confinement

    @property
    def commands(self) -> int:
        """The maximum number of commands that the machine runs at the same time."""
        return self._original.commands

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None if the machine is not running."""
        return self._original.pid

    def stop(self) -> None:
        """Stop the machine, also for other processes that use it. Further calls have no effect."""
        raise NotImplementedError

    @document_options(ExecOptions)
    def exec(self, argv: Argv, **options: Unpack[ExecOptions]) -> Process:
        """Start a command, and return its `Process`; see `microvm.MicroVM.exec`."""
        return Process._new()._init(self._loop, self._do(self._original.exec(argv, **options)))

    run = blocking(base.Machine.run)
    ping = blocking(base.Machine.ping)
    status = blocking(base.Machine.status)
    checkpoint = blocking(base.Machine.checkpoint)

    def fork(self, count: int = 1) -> Forks[MicroVM]:
        """Start machines that continue from the current state; see `microvm.MicroVM.fork`."""
        from microvm.sync.machine import MicroVM

        count = parse_count(count, least=1)
        with self.checkpoint() as snapshot:
            options: MachineOptions = {"confinement": self.confinement, "commands": self.commands}
            return Forks(MicroVM(snapshot, **options) for _ in range(count))._start()

    def connect(self, server: int | str, *, timeout: Duration = CONNECT_TIMEOUT) -> socket.socket:
        """Connect to a server in the guest; see `microvm.MicroVM.connect`.

        :return: Connected socket, which the caller closes.
        """
        return self._do(self._original._connected_socket(server, timeout))

    def forward(
        self,
        port: int,
        server: int | str,
        *,
        host: str = LOOPBACK,
        timeout: Duration = CONNECT_TIMEOUT,
    ) -> Forward:
        """Forward a port of this host to a server in the guest; see `microvm.MicroVM.forward`."""
        forward = self._do(self._original.forward(port, server, host=host, timeout=timeout))
        return Forward._new()._init(self._loop, forward)

    def reverse(
        self, guest_port: int, target: ReverseTarget, *, timeout: Duration = CONNECT_TIMEOUT
    ) -> Reverse:
        """Connect clients in the guest to one target; see `microvm.MicroVM.reverse`.

        :param target: The same as for `microvm.MicroVM.reverse`, except that a function is called
            in a thread of its own, with a client's connected socket. When the function returns, the
            socket is closed.
        """
        opening = self._original.reverse(guest_port, asynchronous(target), timeout=timeout)
        return Reverse._new()._init(self._loop, self._do(opening))

    write_file = blocking(base.Machine.write_file)
    read_file = blocking(base.Machine.read_file)
    put = blocking(base.Machine.put)
    get = blocking(base.Machine.get)
    put_archive = blocking(base.Machine.put_archive)
    get_archive = blocking(base.Machine.get_archive)
    make_dir = blocking(base.Machine.make_dir)
    remove = blocking(base.Machine.remove)
    rename = blocking(base.Machine.rename)
    stat = blocking(base.Machine.stat)
    exists = blocking(base.Machine.exists)
    realpath = blocking(base.Machine.realpath)
    list = blocking(base.Machine.list)
    glob = blocking(base.Machine.glob)
