"""The limits on what an image is made from, and how much of them is used up.

A source can be hostile: a few bytes of it may stand for terabytes, or for a million files. Its
layers are read while a `Budget` lasts, which all of a tree's layers share.
"""

from __future__ import annotations

from dataclasses import dataclass

from microvm.errors import ImageError
from microvm.units import exact_size

NAME_MAX = 255
PATH_MAX = 4096
"""The most bytes of a name, and of a path or a link's target with its NUL (linux/limits.h)."""

_STEPS = 32  # of a path, on average


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a source; sizes are in bytes.

    :ivar members: files, folders and all else, in all layers together.
    :ivar unpacked: the layers' size when they are decompressed, and that of a host's folder.
    :ivar ratio: how many times the compressed size that may be, once it is beyond `unsuspected`.
    :ivar unsuspected: a size that a layer may have whatever its ratio.
    :ivar metadata: names, targets of links and extended attributes, all together.
    :ivar depth: folders within folders.
    :ivar layers: layers of an image.
    :ivar seconds: what a registry may take to send the layers of an image.
    """

    members: int = 500_000
    unpacked: int = 16 << 30
    ratio: int = 250
    unsuspected: int = 256 << 20
    metadata: int = 128 << 20
    depth: int = 128
    layers: int = 256
    seconds: int = 3600


class Budget:
    """The part of the limits that layers have not used up yet."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._members = 0
        self._unpacked = 0
        self._metadata = 0
        self._steps = 0

    def take_member(self, metadata: int) -> None:
        """Count a member and the bytes of its metadata.

        :raises ImageError: there are too many.
        """
        self._members += 1
        self._metadata += metadata
        if self._members > self.limits.members:
            raise _beyond("members", f"more than {self.limits.members:,} files")
        if self._metadata > self.limits.metadata:
            what = f"more than {exact_size(self.limits.metadata)} of names and attributes"
            raise _beyond("metadata", what)

    def take_step(self) -> None:
        """Count a step from a folder to what is in it, on the way of a path.

        :raises ImageError: there are too many.
        """
        self._steps += 1
        if self._steps > self.limits.members * _STEPS:
            raise _beyond("members", "its paths are too long to follow")

    def take_bytes(self, count: int) -> None:
        """Count bytes of a layer, as they are when decompressed.

        :raises ImageError: there are too many.
        """
        self._unpacked += count
        if self._unpacked > self.limits.unpacked:
            raise _beyond("unpacked", f"more than {exact_size(self.limits.unpacked)} unpacked")

    def check_ratio(self, packed: int, unpacked: int) -> None:
        """Refuse a layer that is much larger than what it was decompressed from.

        :raises ImageError: it is.
        """
        if unpacked > max(self.limits.unsuspected, packed * self.limits.ratio):
            times = f"more than {self.limits.ratio} times its compressed size"
            raise _beyond("ratio", f"a layer is {times} unpacked")


def how_to_raise(limit: str) -> str:
    """Return the hint for a source that is beyond a limit, which may well be trusted."""
    return f"if you trust it, `microvm image build --limit {limit}=N` takes a higher limit"


def _beyond(limit: str, what: str) -> ImageError:
    return ImageError(
        f"the source is larger than it may be: {what}",
        hint=how_to_raise(limit),
    )
