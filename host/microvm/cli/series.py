"""The work on each name that a verb is given: if one name fails, the others are still done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from microvm.errors import MicroVMError

T = TypeVar("T")


def for_each(names: Iterable[str], work: Callable[[str], T]) -> Iterator[T]:
    """Yield the result of the work for each name, and go on after a failure.

    All errors are printed at the end, so that the user sees them after the results.

    :raises MicroVMError: the last of the errors; the others have been printed.
    """
    failures = []
    for name in dict.fromkeys(names):
        try:
            result = work(name)
        except MicroVMError as failure:
            failures.append(failure)
        else:
            yield result
    if failures:
        from microvm.cli.root import show

        for error in failures[:-1]:
            show(error)
        raise failures[-1]
