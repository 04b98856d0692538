"""Suggestions for a name that the user has misspelled."""

from __future__ import annotations

from collections.abc import Iterable

_MAX_NAMES = 3


def did_you_mean(name: str, names: Iterable[str], *, quoted: bool = False) -> str:
    """Return "did you mean …?" with `names` similar to `name`, in quotes if `quoted`; "" if none.

    Names that begin with `name` are preferred.

    :param quoted: True to put each suggested name in quotation marks.
    """
    # Import difflib only here, because the import is slow, and only error messages need it.
    from difflib import get_close_matches

    known = list(names)
    longer = [each for each in known if name and each.startswith(name)]
    close = longer[:_MAX_NAMES] or get_close_matches(name, known)
    shown = map(repr, close) if quoted else close
    return f"did you mean {' or '.join(shown)}?" if close else ""
