"""Functions that create, remove and rename files and folders of a guest."""

from __future__ import annotations

from typing import Any

from microvm.guest.executor import Executor
from microvm.guest.file_request import TIMEOUT, GuestPath, GuestUser, requested, with_options
from microvm.options import to_bytes
from microvm.units import Duration
from microvm.wire.files import Action


@with_options("parents", "exist_ok")
async def make_dir(
    guest: Executor,
    path: GuestPath,
    parents: bool,
    exist_ok: bool,
    *,
    user: GuestUser = None,
    owner: GuestUser = None,
    timeout: Duration = TIMEOUT,
) -> None:
    """Create a folder; see `MicroVM.make_dir`."""
    fields = {"owner": owner, "recursive": parents, "idempotent": exist_ok}
    await _changed(guest, Action.MAKE_FOLDER, path, user, timeout, **fields)


@with_options("recursive", "missing_ok")
async def remove(
    guest: Executor,
    path: GuestPath,
    recursive: bool,
    missing_ok: bool,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
) -> None:
    """Remove a file or a folder; see `MicroVM.remove`."""
    fields = {"recursive": recursive, "idempotent": missing_ok}
    await _changed(guest, Action.REMOVE, path, user, timeout, **fields)


@with_options()
async def rename(
    guest: Executor,
    source: GuestPath,
    destination: GuestPath,
    *,
    user: GuestUser = None,
    timeout: Duration = TIMEOUT,
) -> None:
    """Rename a file or a folder; see `MicroVM.rename`."""
    new_path = to_bytes(destination)
    await _changed(guest, Action.RENAME, source, user, timeout, new_path=new_path)


async def _changed(
    guest: Executor,
    action: Action,
    path: GuestPath,
    user: GuestUser,
    timeout: Duration,
    **fields: Any,
) -> None:
    async with requested(guest, action, path, user, timeout, **fields) as transfer:
        await transfer.receive()
        await transfer.end()
