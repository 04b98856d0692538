"""Templates: guests that were booted and saved, for others to be cloned from.

They are a store of saved guests, in which each has a name that ends in a digest of everything that
shapes the guest; who makes one shows that it lives, and those not used for the longest go.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from microvm.cache import lock
from microvm.errors import ImageError, TemplateError, UsageError
from microvm.qemu.command_line import Memory
from microvm.start.origin import Origin
from microvm.start.saved import LOST, SavedGuest
from microvm.start.store import Store
from microvm.units import parse_size

STORE = Store("templates", "template", TemplateError)
"""The templates."""

LIMIT = "4G"
"""The size that all templates together may take on the disk, unless MICROVM_TEMPLATES says another;
those that were not used for the longest go first."""


def locked(name: str, notify: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
    """Hold the lock of this template; while another process holds it and sends heartbeats, wait.

    :param notify: called with a line for the user if the wait is long.
    :raises ImageError: the cache cannot be written, or the holder sends no heartbeats.
    """
    from microvm.cache import async_lock

    return async_lock.held(STORE.path(name), "saves a guest to clone", notify)


def save(memory: Memory, *, name: str, origin: Origin, copied: bool) -> None:
    """Keep a guest, as `Store.save` does, and make room for it among the others.

    :raises ImageError: the disk is full, or cannot be written. Nothing half made is left.
    """
    STORE.save(memory, name=name, origin=origin, copied=copied)
    with suppress(ImageError):  # what cannot be removed is in nobody's way
        prune(limit(), keep=name)


def prune(limit: int, *, keep: str = "") -> list[SavedGuest]:
    """Remove damaged templates, then the longest unused ones, until `limit` bytes are left.

    :param keep: the name of a template that stays whatever happens.
    :return: the templates that were removed.
    """
    lock.sweep(STORE.folder)
    removed, total = [], 0
    for template in STORE.installed():
        total += template.size
        if template.name != keep and (template.flaw in LOST or total > limit):
            with suppress(TemplateError):
                STORE.remove(template.name)
            total -= template.size
            removed.append(template)
    return removed


def limit() -> int:
    """Return the bytes that all templates together may take.

    :raises UsageError: MICROVM_TEMPLATES is no size.
    """
    try:
        return parse_size(os.environ.get("MICROVM_TEMPLATES") or LIMIT)
    except UsageError as error:
        raise UsageError(f"MICROVM_TEMPLATES: {error.message}", hint=error.hint) from None
