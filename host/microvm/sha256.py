"""SHA-256 of small data, without the slow import of `hashlib`, which loads OpenSSL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash
    from hashlib import sha256 as _own
else:  # `_sha2` is not public, but the standard module `random` also uses it
    try:
        from _sha2 import sha256 as _own
    except ImportError:  # `_sha2` is missing before Python 3.12, and in some builds of Python
        try:
            from _sha256 import sha256 as _own
        except ImportError:
            from hashlib import sha256 as _own


def sha256(data: bytes = b"") -> _Hash:
    """Return a SHA-256 object that has hashed `data`, as `hashlib.sha256` does."""
    # Use `hashlib` if it is imported already, except while another thread is importing it.
    begin: Callable[[bytes], _Hash] = getattr(sys.modules.get("hashlib"), "sha256", _own)
    return begin(data)
