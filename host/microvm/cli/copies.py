"""Copies files for `microvm run`, into the machine before the command and out of it afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from microvm.cli import standard_streams
from microvm.errors import ExecTimeout, FileError, MachineError, MicroVMError
from microvm.machine.files import as_user, collected, in_folder

if TYPE_CHECKING:
    from microvm.guest.download import Received
    from microvm.machine.base import Machine
    from microvm.options import ExecOptions

_SHOWN = 100  # maximum number of file names that a notice lists


class FileCopy(NamedTuple):
    """The source path and the target path of a copy: one on the host, the other in the guest."""

    source: str
    target: str


class Copies(NamedTuple):
    """The files that `microvm run` copies before and after the command.

    :ivar after: Copies to the host. The source of each can be a pattern, as for `MicroVM.glob`.
    :ivar max_collect: Maximum number of bytes that each copy to the host may have, also if it
        consists of several files; None for the default of `MicroVM.get`.
    """

    before: tuple[FileCopy, ...] = ()
    after: tuple[FileCopy, ...] = ()
    max_collect: int | None = None

    async def put(self, machine: Machine, options: ExecOptions) -> None:
        """Copy the files in the field `before` into the guest, as the user that `options` name.

        The guest writes the files with the rights of this user. Relative paths in the guest start
        at the working directory of the command.
        """
        for copy in self.before:
            with converted_errors(f"cannot copy {copy.source}"):
                await machine.put(copy.source, in_folder(copy.target, options), **as_user(options))

    async def get(self, machine: Machine, options: ExecOptions) -> MicroVMError | None:
        """Copy the files in `after` to the host. Print all errors; return the first one or None."""
        failed: MicroVMError | None = None
        for copy in self.after:
            try:
                await self._get(copy, machine, options)
            except MachineError:
                raise
            except MicroVMError as error:
                standard_streams.print_error(str(error))
                failed = failed or error
        return failed

    async def _get(self, copy: FileCopy, machine: Machine, options: ExecOptions) -> None:
        with converted_errors(
            f"cannot collect {copy.source} to {copy.target}", {"max_size": "--max-collect"}
        ):
            from microvm.guest.pattern import is_pattern  # needed only after the command

            if is_pattern(copy.source):
                from microvm.cli.matching_files import get_matching

                await get_matching(copy, machine, options, self.max_collect)
                return
            limits: dict[str, Any] = {}
            if self.max_collect is not None:
                limits["max_size"] = self.max_collect
            received = await machine.get(
                in_folder(copy.source, options), copy.target, **limits, **collected(options)
            )
        notify_left_out(received)


def notify_left_out(received: Received) -> None:
    """Print a notice of links that were not copied, because they lead out of the copied folder."""
    what = f"left out of {received.path}, because they point out of it"
    notify_names(what, received.left_out, received.left_out_count)


def notify_names(what: str, names: Sequence[str], count: int | None = None) -> None:
    """Print the notice `what` about `count` files, with the first of their `names`, if any."""
    if not names:
        return
    shown = names[:_SHOWN]
    more = (len(names) if count is None else count) - len(shown)
    standard_streams.notify(f"{what}: {', '.join(shown)}{f' and {more} more' if more else ''}")


@contextmanager
def converted_errors(what: str, flags: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Context manager: reword errors of its block, which copies files, for the command line.

    A file of the host that cannot be used raises a MicroVMError with the description `what`. An
    ExecTimeout becomes a MicroVMError, because no command timed out. In the hint of a FileError,
    `flags` replaces names of parameters by options of the command line.
    """
    try:
        yield
    except FileError as error:
        for name, flag in flags.items():
            error.hint = error.hint.replace(name, flag)
        raise
    except ExecTimeout as error:
        raise MicroVMError(error.message) from error
    except (MicroVMError, BrokenPipeError):
        raise
    except OSError as error:
        path = os.fsdecode(error.filename or "")
        where = "" if what.endswith(path) else f"{path}: "
        raise MicroVMError(f"{what}: {where}{error.strerror or error}") from error
