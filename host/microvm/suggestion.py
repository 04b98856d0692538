"""The names that somebody may have meant who wrote one wrongly."""

from __future__ import annotations

from collections.abc import Iterable

_MOST_NAMES = 3


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return the names that begin so, or else come near, as a hint; empty if none does."""
    from difflib import get_close_matches  # it takes a while to import

    known = list(names)
    begun = [each for each in known if name and each.startswith(name)]
    close = begun[:_MOST_NAMES] or get_close_matches(name, known)
    return f"did you mean {' or '.join(close)}?" if close else ""
