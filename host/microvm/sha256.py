"""SHA-256 for small data. It avoids the import of `hashlib`, which loads OpenSSL slowly."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash
    from hashlib import sha256 as _own
else:  # the module `random` does the same
    try:
        from _sha2 import sha256 as _own
    except ImportError:  # before Python 3.12, or a build without this module
        try:
            from _sha256 import sha256 as _own
        except ImportError:
            from hashlib import sha256 as _own


def sha256(data: bytes = b"") -> _Hash:
    """Begin a digest, as `hashlib.sha256` does."""
    # Use `hashlib` if it is loaded. Another thread may be importing it, so it may lack the name.
    begin: Callable[[bytes], _Hash] = getattr(sys.modules.get("hashlib"), "sha256", _own)
    return begin(data)
