"""The public class `Forward` for programs without `async`."""

from __future__ import annotations

from typing import Self

from microvm.guest import forward
from microvm.sync.bound import LoopBound, blocking


class Forward(LoopBound):
    """A port of this host that is forwarded to a server in the guest; see `microvm.Forward`."""

    _original: forward.Forward

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port to which clients connect."""
        return self._original.address

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    close = blocking(forward.Forward.close)
