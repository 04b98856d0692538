"""The standard streams of this process, as descriptors."""

from __future__ import annotations

import os


def open_missing() -> None:
    """Open those that were closed, on nothing, so that no later file is one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
