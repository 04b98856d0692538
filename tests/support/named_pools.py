"""The description of a named pool, for tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from typing import Any

from tests.support.polling import eventually

NAME = "tools"

Command = Callable[..., subprocess.CompletedProcess[bytes]]


def facts(microvm: Command, name: str = NAME) -> dict[str, Any]:
    [found] = json.loads(microvm("pool", "inspect", "--json", name).stdout)
    assert isinstance(found, dict)
    return found


def full(microvm: Command, name: str = NAME) -> dict[str, Any]:
    """Wait until the pool has its machines ready, and return its description."""
    found: dict[str, Any] = {}

    def is_full() -> bool:
        found.update(facts(microvm, name))
        return bool(found["ready"] >= found["size"])

    eventually(is_full)
    return found
