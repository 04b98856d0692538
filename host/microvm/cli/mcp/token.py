"""The token that clients send to a server over HTTP, so that no other program can use it."""

from __future__ import annotations

import os
from pathlib import Path

from microvm.errors import UsageError

VARIABLE = "MICROVM_MCP_TOKEN"
"""The environment variable that contains the token."""

_OTHERS = 0o077
_SHORTEST = 16
_LONGEST = 1024


def given(file: Path | None) -> str | None:
    """Return the token in a file, or else in the environment variable; None if there is none.

    :raises UsageError: If the token is too short or too long, or another user can read or change
        the file.
    """
    token = os.environ.get(VARIABLE) if file is None else _read(file)
    if token is None:
        return None
    where = VARIABLE if file is None else str(file)
    if len(token) > _LONGEST:
        raise UsageError(f"{where}: a token has at most {_LONGEST} characters")
    if len(token) < _SHORTEST or not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"{where}: a token has at least {_SHORTEST} printable ASCII characters, and no space",
            hint="`openssl rand -hex 32` prints one",
        )
    return token


def _read(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            if status.st_uid != os.geteuid() or status.st_mode & _OTHERS:
                raise UsageError(
                    f"{file}: other users can read this token", hint=f"chmod 600 {file}"
                )
            return opened.read(_LONGEST + 1).decode("ascii", "replace").strip()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
