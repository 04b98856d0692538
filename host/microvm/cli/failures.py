"""Runs the work of a verb for each of its names, and continues after a failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from microvm.errors import MicroVMError

T = TypeVar("T")


def for_each(names: Iterable[str], work: Callable[[str], T]) -> Iterator[T]:
    """Call `work` for each name, and yield the results. Continue with the next name after an error.

    All errors are reported at the end, so that the user does not overlook them.

    :raises MicroVMError: The last error. The other errors are printed before.
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
