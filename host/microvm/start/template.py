"""Templates: guests that were booted and saved, from which machines are cloned.

The name of a template ends in a digest of its image and of all options that change the guest. A
process that creates a template sends heartbeats, so that others know that it is alive. If the
templates take too much room on the disk, those that were unused for the longest time are removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress

from microvm import start
from microvm.cache import lock
from microvm.errors import CacheError, TemplateError, UsageError
from microvm.qemu.command_line import Memory
from microvm.start.origin import Origin
from microvm.start.saved import LOST, SavedGuest
from microvm.start.store import Store
from microvm.units import parse_size

STORE = Store("templates", "template", TemplateError)
"""The store of all templates in the cache."""

LIMIT = "4G"
"""Default maximum size of all templates together; the variable MICROVM_TEMPLATES changes it."""


def locked(name: str, notify: Callable[[str], None]) -> AbstractAsyncContextManager[None]:
    """Context manager: wait for the lock of the template `name`, and hold it.

    :param notify: Function that is called with a notice for the user if the wait is long.
    """
    return start.lock_held(STORE.path(name), "saves a guest to clone", notify)


def save(memory: Memory, *, name: str, origin: Origin, copied: bool) -> None:
    """Save the guest in `memory` as a template; remove old templates if all take too much room.

    See `Store.save` for the arguments.
    """
    STORE.save(memory, name=name, origin=origin, copied=copied)
    with suppress(CacheError):  # the start must not fail because old templates cannot be removed
        prune(limit(), keep=name)


def prune(limit: int, *, keep: str = "") -> list[SavedGuest]:
    """Remove damaged templates, and old ones until the rest fits in `limit` bytes; never `keep`.

    The templates that were not used for the longest time are removed first. Return those removed.
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
    """Return the maximum number of bytes for all templates together."""
    try:
        return parse_size(os.environ.get("MICROVM_TEMPLATES") or LIMIT)
    except UsageError as error:
        raise UsageError(f"MICROVM_TEMPLATES: {error.message}", hint=error.hint) from None
