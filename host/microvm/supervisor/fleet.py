"""All named machines of this user: what they are and do, and their end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from microvm.errors import MicroVMError
from microvm.supervisor.client import connect_to
from microvm.supervisor.runtime import Runtime


def stop(names: Sequence[str] | None) -> Iterator[str]:
    """End machines, and yield their names as they are gone.

    :param names: None for all of them.
    :raises MicroVMError: there is no such machine, or it does not end; the others have.
    """
    failure: MicroVMError | None = None
    with Runtime() as runtime:
        for name in runtime.names() if names is None else names:
            try:
                with runtime.open(name) as place:
                    if place.lives():
                        with connect_to(place) as connection:
                            connection.ask("stop")
                    else:
                        runtime.sweep(place)
                yield place.name
            except MicroVMError as error:
                failure = failure or error
    if failure is not None:
        raise failure
