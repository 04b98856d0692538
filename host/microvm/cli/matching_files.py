"""Copies the files that match a pattern out of a machine, for the option `--collect`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from errno import EFBIG
from pathlib import Path
from typing import TYPE_CHECKING

from microvm.cli.copies import FileCopy, notify_left_out, notify_names
from microvm.errors import FileError, MicroVMError
from microvm.guest.file_request import TIMEOUT
from microvm.guest.files import MAX_FILES, MAX_SIZE, FileStatus
from microvm.guest.pattern import Pattern, no_match
from microvm.machine.files import FileOptions, as_user, collected, in_folder
from microvm.printable import quoted
from microvm.units import parse_duration

if TYPE_CHECKING:
    from microvm.machine.base import Machine
    from microvm.options import ExecOptions

_SOON = 0.001  # the shortest time limit of a transfer in seconds


async def get_matching(
    copy: FileCopy, machine: Machine, options: ExecOptions, max_collect: int | None
) -> None:
    """Copy all files and folders that match the pattern `copy.source` into a folder of the host.

    The folder keeps the paths below the first special character of the pattern. So two files of the
    same name do not replace each other. All files together have one time limit and one size.

    :param max_collect: Maximum size of all files in bytes; None for the default of `MicroVM.get`.
    :raises FileError: If no file matches, or if files cannot be copied; this is the first error.
        After other errors than an exceeded limit, the other files are copied nevertheless.
    """
    end = time.monotonic() + parse_duration(collected(options).get("timeout", TIMEOUT))
    size, files = MAX_SIZE if max_collect is None else max_collect, MAX_FILES
    base = Pattern.parse(copy.source).base
    failed: FileError | None = None
    folder = in_folder("", options)
    found = await machine.glob(copy.source, cwd=folder, **_how(options, end))
    for each in _outermost(found, copy.source):
        target = _folder_of(Path(copy.target), each.name.removeprefix(base))
        try:
            received = await machine.get(
                in_folder(each.name, options),
                f"{target}/",
                max_size=size,
                max_files=files,
                **_how(options, end),
            )
        except FileError as error:
            if error.errno == EFBIG:
                raise
            failed = failed or error
            continue
        size -= received.size
        files -= received.files
        notify_left_out(received)
    if failed is not None:
        raise failed


def _how(options: ExecOptions, end: float) -> FileOptions:
    """Return the user of the transfers, and the time that is left until `end` as the limit."""
    return {**as_user(options), "timeout": max(end - time.monotonic(), _SOON)}


def _outermost(found: Sequence[FileStatus], pattern: str) -> list[FileStatus]:
    """Return the files and folders that are not in another folder of the list.

    A folder is copied with everything in it. Print a notice of what cannot be copied.

    :raises FileError: If there are no files.
    """
    folders = {each.name for each in found if each.is_folder}
    outer = [each for each in found if folders.isdisjoint(_parents(each.name))]
    usable = [each for each in outer if each.is_file or each.is_folder]
    others = [each.name for each in outer if not (each.is_file or each.is_folder)]
    notify_names(f"{pattern}: left out, because they are neither files nor folders", others)
    if not usable:
        raise no_match(pattern)
    return usable


def _parents(path: str) -> list[str]:
    """Return the paths of all folders on a path."""
    return [path[:at] for at, letter in enumerate(path) if letter == "/"]


def _folder_of(target: Path, path: str) -> Path:
    """Create and return the folder of the host for a file with this path below `target`.

    The guest has chosen the names. So no name may be a link to a folder of the host, through which
    the file would be written elsewhere.

    :raises MicroVMError: If a link is in the way.
    """
    *parents, name = path.split("/")
    folder = target
    for each in parents:
        folder /= each
        _check_no_link(folder)
    _check_no_link(folder / name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _check_no_link(path: Path) -> None:
    if path.is_symlink() and path.is_dir():
        raise MicroVMError(
            f"cannot collect into {quoted(str(path))}, because it is a link to another folder",
            hint="choose an empty folder, as in --collect PATTERN:DST",
        )
