"""The login session with which a pool ends."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from select import POLLIN
from typing import Any

from microvm.guest.stdio import until_ready
from microvm.system import platform
from microvm.system.descriptors import wait_ready

_SESSIONS = "/run/systemd/sessions"
_INTERVAL = 1.0  # seconds between two checks whether the file of a session exists


def find() -> dict[str, Any] | None:
    """Return a description of the login session of this process; None if it has none.

    systemd has a file for each login session. Without systemd, the session ends with its first
    process (see setsid(2)), such as the login shell. A process that is the first one itself, such
    as one that cron has started, belongs to no login session. Neither does a process if the first
    process of its session has exited. After the logout, systemd's session no longer counts, but
    that of setsid(2) does, such as the session of a shell in a terminal multiplexer.
    """
    name = os.environ.get("XDG_SESSION_ID", "")
    file = f"{_SESSIONS}/{name}"
    if name.isalnum() and os.access(file, os.R_OK) and _is_open(file):
        return {"file": file}
    leader = os.getsid(0)
    return None if leader in (0, os.getpid()) or _has_exited(leader) else {"process": leader}


def _has_exited(process: int) -> bool:
    try:
        descriptor = platform.open_process(process)
    except OSError:  # it has exited, or this system cannot observe other processes
        return True
    try:
        return bool(wait_ready({descriptor: POLLIN}, 0))
    finally:
        os.close(descriptor)


def _is_open(file: str) -> bool:
    """Return True until the user of the session that `file` describes has logged out.

    systemd keeps the file while processes of the session run, such as this one. Until they end, the
    state of the session is `closing`, see sd_session_get_state(3).
    """
    try:
        with open(file, "rb") as opened:
            return b"STATE=closing" not in opened.read(1 << 16).splitlines()
    except FileNotFoundError:
        return False
    except OSError:  # such as too few descriptors
        return True


class LoginSession:
    """A login session, which `wait_ended` observes. `close` releases its descriptor."""

    def __init__(self, description: dict[str, Any]) -> None:
        """Begin to observe a session that `find` has described."""
        self._file: str | None = description.get("file")
        self._process = -1
        if self._file is None:
            # If the process has exited already, `wait_ended` returns at once.
            with suppress(ProcessLookupError):
                self._process = platform.open_process(description["process"])

    def close(self) -> None:
        """Close the descriptor; idempotent."""
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    async def wait_ended(self) -> None:
        """Wait until the session has ended."""
        if self._file is not None:
            while _is_open(self._file):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(_INTERVAL)
        elif self._process >= 0:
            await until_ready(self._process)
