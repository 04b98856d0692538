"""The error that a rung raises if an implementation of the protocol differs from its model."""

from __future__ import annotations


class Disagreement(AssertionError):
    """A host, guest or decoder did not behave as its model requires.

    :ivar what: Short description of the problem, without numbers, so that it names one kind of
        failure.
    """

    def __init__(self, what: str, detail: object = "") -> None:
        super().__init__(f"{what}: {detail}")
        self.what = what


def agree(right: bool, what: str, detail: object = "") -> None:
    if not right:
        raise Disagreement(what, detail)


def kind_of(error: BaseException) -> str:
    """Return the kind of a failure, which also names its file in the corpus."""
    return getattr(error, "what", type(error).__name__)
