"""The start of a named machine: spawn its supervisor, and send it a description of the machine.

If the start fails, or this process exits before the machine has started, the machine's folder is
removed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Self

from microvm.errors import GuestDied, MicroVMError
from microvm.supervisor.client import protocol
from microvm.supervisor.client.blocking import BlockingConnection
from microvm.supervisor.machine_directory import LOG, POOL, MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory, unusable
from microvm.system import platform

_MAX_LOG = 1 << 14  # maximum number of characters of the supervisor's log in an error
CLEANUP_TIMEOUT = 20.0
"""Maximum number of seconds that a supervisor needs to clean up."""


class Start:
    """The start of a machine, as a context manager that cancels an incomplete start.

    The supervisor is spawned at once, so that it imports its modules while the caller prepares the
    order.
    """

    def __init__(self, name: str | None, *, is_pool: bool = False) -> None:
        """Create the folder of a machine or pool, and spawn its supervisor.

        :param name: the name; None chooses one.
        """
        platform.require(platform.NAMES)
        ours, theirs = socket.socketpair()
        try:
            with theirs, RuntimeDirectory(make=True) as runtime, runtime.create(name) as directory:
                self._process = _spawn(runtime, directory, theirs, is_pool=is_pool)
        except BaseException:
            ours.close()
            raise
        self.name = directory.name
        self._connection = BlockingConnection(directory.name, ours)
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._connection:
            if not self._done:
                self._cancel()
        # The spawned process exits as soon as it has forked the supervisor, so reap it.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(CLEANUP_TIMEOUT)

    def abort(self) -> None:
        """Cancel the start while another thread waits in `order`, which then raises an error."""
        with suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)

    def _cancel(self) -> None:
        """Make the supervisor of an incomplete start clean up, and wait until it has exited."""
        with suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_WR)
        with (
            suppress(MicroVMError, OSError),
            RuntimeDirectory() as runtime,
            runtime.of(self.name) as directory,
        ):
            if directory.wait_dead(CLEANUP_TIMEOUT):
                # A supervisor that was killed could not remove its files, so remove them here.
                runtime.sweep(directory)

    def order(
        self,
        *,
        image: str | None,
        snapshot: str | None,
        options: dict[str, Any],
        idle_timeout: float | None,
        max_age: float | None,
        publish: Sequence[str] = (),
        reverse: Sequence[str] = (),
        pool: dict[str, Any] | None = None,
        notify: Callable[[str], object],
    ) -> dict[str, Any]:
        """Send the order, a description of the machine, and wait until the machine has started.

        Return the description of the running machine, as `machine.json` contains it.

        :param options: the `MachineOptions`, with values that JSON supports.
        :param idle_timeout: number of seconds without a command after which the machine ends, or
            None.
        :param max_age: number of seconds after the start at which the machine ends, or None.
        :param publish: ports of this host, as values of the option `--publish`.
        :param reverse: ports of the guest, as values of the option `--reverse`.
        :param pool: for a pool, its limits; see `PoolSupervisor.start`.
        """
        order = {
            "image": image,
            "snapshot": snapshot,
            "options": options,
            "idle_timeout": idle_timeout,
            "max_age": max_age,
            "publish": list(publish),
            "reverse": list(reverse),
            "pool": pool,
        }
        self._connection.send(protocol.request(order=order))
        try:
            facts: dict[str, Any] = self._connection.reply(lambda _, text: notify(str(text)))
        except GuestDied:
            if self._connection.at_end:
                raise self._failure() from None
            raise
        self._done = True
        return facts

    def _failure(self) -> MicroVMError:
        """Return the error for a supervisor that exited without a reply, with its log."""
        text = ""
        with (
            suppress(MicroVMError, OSError),
            RuntimeDirectory() as runtime,
            runtime.of(self.name) as directory,
            os.fdopen(directory.file(LOG, os.O_RDONLY), errors="replace") as log,
        ):
            text = log.read(_MAX_LOG)
        return MicroVMError(f"the supervisor of {self.name} does not start", detail=text.strip())


def _spawn(
    runtime: RuntimeDirectory,
    directory: MachineDirectory,
    channel: socket.socket,
    *,
    is_pool: bool,
) -> subprocess.Popen[bytes]:
    try:
        if is_pool:
            os.close(directory.file(POOL, os.O_WRONLY | os.O_CREAT))
        log = directory.file(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        runtime.remove(directory)
        raise unusable(runtime.path, error) from None
    passed = (channel.fileno(), directory.descriptor)
    try:
        return subprocess.Popen(
            # `-P` prevents imports from the working folder, whose files another user may control.
            [sys.executable, "-P", "-m", "microvm.supervisor", directory.name, *map(str, passed)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            pass_fds=passed,
            start_new_session=True,
        )
    except BaseException as error:
        runtime.remove(directory)
        if isinstance(error, OSError):
            message = f"cannot run {sys.executable}: {error.strerror}"
            raise MicroVMError(message) from error
        raise
    finally:
        os.close(log)
