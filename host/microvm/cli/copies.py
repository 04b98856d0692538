"""The copies that `microvm run` makes: into the machine before its command, and out of it after."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from microvm.cli import standard
from microvm.errors import ExecTimeout, FileError, MachineError, MicroVMError
from microvm.machine.files import as_user, collected, in_folder

if TYPE_CHECKING:
    from microvm.guest.arrival import Received
    from microvm.machine.machine import MicroVM
    from microvm.options import ExecOptions

_SHOWN = 100  # names of files


class Copy(NamedTuple):
    """A copy from one path to another, one of which is the guest's."""

    source: str
    target: str


class Copies(NamedTuple):
    """The files that are copied before a command, and after it.

    :ivar before: from this host into the guest.
    :ivar after: from the guest to this host, `max_collect` bytes of each at most; None for what
        `MicroVM.get` brings.
    """

    before: tuple[Copy, ...] = ()
    after: tuple[Copy, ...] = ()
    max_collect: int | None = None

    async def put(self, machine: MicroVM, how: ExecOptions) -> None:
        """Copy what the command is to find, as its user and into its working directory.

        :raises MicroVMError: something cannot be copied; says what.
        """
        for copy in self.before:
            with named(f"cannot copy {copy.source}"):
                await machine.put(copy.source, in_folder(copy.target, how), **as_user(how))

    async def get(self, machine: MicroVM, how: ExecOptions) -> MicroVMError | None:
        """Copy what the command has left, as far as it can be copied, and say what cannot.

        :return: the first error; None where all of it could.
        :raises MachineError: the machine is lost.
        """
        failed: MicroVMError | None = None
        for copy in self.after:
            try:
                await self._get(copy, machine, how)
            except MachineError:
                raise
            except MicroVMError as error:
                standard.complain(str(error))
                failed = failed or error
        return failed

    async def _get(self, copy: Copy, machine: MicroVM, how: ExecOptions) -> None:
        with named(f"cannot collect {copy.source} to {copy.target}", {"max_size": "--max-collect"}):
            received = await machine.get(
                in_folder(copy.source, how),
                copy.target,
                **({} if self.max_collect is None else {"max_size": self.max_collect}),
                **collected(how),
            )
        notify_left_out(received)


def notify_left_out(received: Received) -> None:
    """Tell the user of links that have not come from a guest."""
    what = f"left out of {received.path}, as they lead out of it"
    notify_names(what, received.left_out, received.left_out_count)


def notify_names(what: str, names: Sequence[str], count: int | None = None) -> None:
    """Tell the user what has become of files, if there are any.

    :param count: how many there are; by default those that are named.
    """
    if not names:
        return
    shown = names[:_SHOWN]
    more = (len(names) if count is None else count) - len(shown)
    standard.notify(f"{what}: {', '.join(shown)}{f' and {more} more' if more else ''}")


@contextmanager
def named(what: str, flags: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Have an error of this host's say what could not be done, and a late one be no command's.

    :param flags: how the command line writes what a hint speaks of.
    :raises MicroVMError: something of this host or of its own deadline failed; a `FileError` of the
        guest's, and a pipe that is closed, are raised as they are.
    """
    try:
        yield
    except FileError as error:
        for name, flag in flags.items():
            error.hint = error.hint.replace(name, flag)
        raise
    except ExecTimeout as error:
        raise MicroVMError(error.message) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        path = os.fsdecode(error.filename or "")
        where = "" if what.endswith(path) else f"{path}: "
        raise MicroVMError(f"{what}: {where}{error.strerror or error}") from error
