"""Creates requests to `carry`, the guest's program that reads and changes files."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from microvm.guest.exchange import Exchange, exchange
from microvm.guest.executor import Executor
from microvm.option import options_of, unknown_option
from microvm.options import ExecOptions, to_bytes
from microvm.units import Duration, parse_duration
from microvm.wire import files
from microvm.wire.files import Action, ModeRule

GuestPath = str | bytes | os.PathLike[str]
"""A path in a guest. A relative path is relative to the working directory of commands."""

GuestUser = str | bytes | int | None
"""A user of a guest: NAME or UID, or either with :GROUP. None is the user who runs commands."""

TIMEOUT = 600.0
"""Default duration of a transfer in seconds."""

_USER = options_of(ExecOptions)["user"]

F = TypeVar("F", bound=Callable[..., object])


def with_options(*others: str) -> Callable[[F], F]:
    """Return a decorator that refuses unknown keyword arguments, and suggests known ones.

    :param others: Options of the public method that are no keyword arguments of the function.
    """

    def decorate(function: Any) -> Any:
        known = (*others, *function.__kwdefaults__)

        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            for name in options:
                if name not in known:
                    raise unknown_option(name, known, function.__name__)
            return function(*args, **options)

        return call

    return decorate


@asynccontextmanager
async def requested(
    guest: Executor,
    action: Action,
    path: GuestPath,
    user: GuestUser,
    timeout: Duration,
    *,
    owner: GuestUser = None,
    **fields: Any,
) -> AsyncIterator[Exchange]:
    """Context manager that sends a request to `carry`; see `exchange`.

    :param fields: Other fields of the request. By default, they are 0 or empty.
    """
    request = files.Request(
        action=action,
        path=to_bytes(path),
        cwd=to_bytes(guest.defaults.get("cwd") or b""),
        user=_user(guest.defaults.get("user") if user is None else user),
        owner=_user(owner),
        **_DEFAULTS | fields,
    )
    async with exchange(guest, request, parse_duration(timeout)) as transfer:
        yield transfer


_DEFAULTS: dict[str, Any] = {
    "mode_rule": ModeRule.PREFER,
    "replace": False,
    "recursive": False,
    "idempotent": False,
    "name": b"",
    "new_path": b"",
    "pattern": b"",
}


def _user(user: GuestUser) -> bytes:
    checked: bytes = b"" if user is None or user == b"" else _USER.check(user)
    return checked
