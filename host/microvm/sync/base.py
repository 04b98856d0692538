"""The public class `Machine` for programs without `async`."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self, Unpack

from microvm.machine import base
from microvm.machine.streams import CONNECT_TIMEOUT, LOOPBACK
from microvm.option import document_options
from microvm.options import Confinement, ExecOptions, Text
from microvm.sync.bound import LoopBound, blocking
from microvm.sync.forward import Forward
from microvm.sync.process import Process
from microvm.units import Duration, parse_count

if TYPE_CHECKING:
    from microvm.sync.machine import Forks


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
    def confinement(self) -> Confinement:
        """The value of the option `confinement`: how QEMU is restricted on the host."""
        return self._original.confinement

    @property
    def pid(self) -> int | None:
        """The process id of QEMU, or None if the machine is not running."""
        return self._original.pid

    def stop(self) -> None:
        """Stop the machine, also for other processes that use it. Further calls have no effect."""
        raise NotImplementedError

    @document_options(ExecOptions)
    def exec(self, argv: Sequence[Text], **options: Unpack[ExecOptions]) -> Process:
        """Start a command, and return its `Process`; see `microvm.MicroVM.exec`."""
        return Process._new()._init(self._loop, self._do(self._original.exec(argv, **options)))

    run = blocking(base.Machine.run)
    ping = blocking(base.Machine.ping)
    status = blocking(base.Machine.status)
    checkpoint = blocking(base.Machine.checkpoint)

    def fork(self, count: int = 1) -> Forks:
        """Start machines that continue from the current state; see `microvm.MicroVM.fork`."""
        from microvm.sync.machine import Forks

        count = parse_count(count, least=1)
        with self.checkpoint() as snapshot:
            return Forks.start(snapshot, count, confinement=self.confinement)

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

    write_file = blocking(base.Machine.write_file)
    read_file = blocking(base.Machine.read_file)
    put = blocking(base.Machine.put)
    get = blocking(base.Machine.get)
    put_archive = blocking(base.Machine.put_archive)
    get_archive = blocking(base.Machine.get_archive)
    stat = blocking(base.Machine.stat)
    list = blocking(base.Machine.list)
