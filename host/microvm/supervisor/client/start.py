"""The start of a named machine, as its starter sees it: a supervisor is spawned, and has an order.

Whatever goes wrong, or ends the starter, before the machine is up, leaves nothing.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from microvm.errors import GuestDied, MicroVMError
from microvm.supervisor import wire
from microvm.supervisor.client.blocking import BlockingConnection
from microvm.supervisor.machine_directory import LOG, MachineDirectory
from microvm.supervisor.runtime_directory import RuntimeDirectory, unusable

_LOG = 1 << 14  # of a supervisor that says why it ends, in characters
_CLEANUP_TIMEOUT = 20.0  # of a supervisor, in seconds


class Start:
    """A start of a machine; leaving its block takes back one that has not come to its end.

    The supervisor is there from the beginning, and imports what it needs while its starter finds
    out what to order.

    :ivar name: the machine's.
    """

    def __init__(self, name: str | None) -> None:
        """Make the folder of the machine, and spawn its supervisor.

        :param name: what it is to be called; None for a name that is made up.
        :raises MicroVMError: there is such a machine, or there can be none here.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs, RuntimeDirectory(make=True) as runtime, runtime.create(name) as directory:
                self._process = _spawn(runtime, directory, theirs)
        except BaseException:
            ours.close()
            raise
        self.name = directory.name
        self._connection = BlockingConnection(directory.name, ours)
        self._done = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._connection:
            if not self._done:
                self._take_back()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLEANUP_TIMEOUT)  # it has only begotten the supervisor

    def _take_back(self) -> None:
        """Have the supervisor clear up, and wait until it has."""
        ours = self._connection.socket
        with suppress(OSError):
            ours.shutdown(socket.SHUT_WR)
        with (
            suppress(MicroVMError, OSError),
            RuntimeDirectory() as runtime,
            runtime.of(self.name) as directory,
        ):
            if directory.dies(_CLEANUP_TIMEOUT):
                runtime.sweep(directory)  # what one has left that could not clear up

    def order(
        self,
        *,
        image: str | None,
        snapshot: str | None,
        options: dict[str, Any],
        idle_timeout: float | None,
        max_age: float | None,
        notify: Callable[[str], object],
    ) -> dict[str, Any]:
        """Have the machine started, wait until it is up, and return what it is.

        :param image: its folder, or whatever else `MicroVM` takes; None with a snapshot.
        :param snapshot: the name of one.
        :param options: `MachineOptions`, as JSON has them.
        :param idle_timeout: for how long nobody has to use it until it ends, in seconds.
        :param max_age: how long after its start it ends, in seconds.
        :param notify: called with the lines that a user should see.
        :raises MicroVMError: it was not started.
        """
        order = {
            "image": image,
            "snapshot": snapshot,
            "options": options,
            "idle_timeout": idle_timeout,
            "max_age": max_age,
        }
        self._connection.send({"wire": wire.WIRE, "order": order})
        try:
            facts: dict[str, Any] = self._connection.reply(
                lambda line: notify(str(line.get("notice")))
            )
        except GuestDied:
            if self._connection.at_end:
                raise self._failure() from None
            raise
        self._done = True
        return facts

    def _failure(self) -> MicroVMError:
        """Return the error for a supervisor that has ended without a word, but for its log."""
        said = ""
        with (
            suppress(MicroVMError, OSError),
            RuntimeDirectory() as runtime,
            runtime.of(self.name) as directory,
            os.fdopen(directory.file(LOG, os.O_RDONLY), errors="replace") as log,
        ):
            said = log.read(_LOG)
        return MicroVMError(f"the supervisor of {self.name} does not start", detail=said.strip())


def _spawn(
    runtime: RuntimeDirectory, directory: MachineDirectory, channel: socket.socket
) -> subprocess.Popen[bytes]:
    try:
        log = directory.file(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    except OSError as error:
        runtime.remove(directory)
        raise unusable(runtime.path, error) from None
    passed = (channel.fileno(), directory.descriptor)
    try:
        return subprocess.Popen(
            # Without the folder that we are in, where anybody's modules may lie.
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
