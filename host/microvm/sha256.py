"""SHA-256 of what is small: by `hashlib` where that is loaded, which OpenSSL makes slow to load."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash
    from hashlib import sha256 as _own
else:  # as the standard library's `random` finds its own
    try:
        from _sha2 import sha256 as _own
    except ImportError:  # before Python 3.12, or of a build without
        try:
            from _sha256 import sha256 as _own
        except ImportError:
            from hashlib import sha256 as _own


def sha256(data: bytes = b"") -> _Hash:
    """Begin a digest, as `hashlib.sha256` does."""
    # Another thread may be importing it just now.
    begin: Callable[[bytes], _Hash] = getattr(sys.modules.get("hashlib"), "sha256", _own)
    return begin(data)
