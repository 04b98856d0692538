"""A disagreement between an end of the protocol and the model of it, by which a rung fails."""

from __future__ import annotations


class Disagreement(AssertionError):
    """An end of the protocol did not do what it must.

    :ivar what: what was wrong, in a few words without numbers.
    """

    def __init__(self, what: str, detail: object = "") -> None:
        """Take what was wrong, and the particulars."""
        super().__init__(f"{what}: {detail}")
        self.what = what


def agree(right: bool, what: str, detail: object = "") -> None:
    """Raise a disagreement unless it is right."""
    if not right:
        raise Disagreement(what, detail)


def kind_of(error: BaseException) -> str:
    """Return what was wrong, in a few words: the kind of a failure, and the name of its file."""
    return getattr(error, "what", type(error).__name__)
