"""The limits on what an image is made from, and how much of them is used up.

A source can be hostile: a few bytes of it may stand for terabytes, or for a million files. Its
layers are read while a `Budget` lasts, which all of a tree's layers share. Each reader counts what
it does there, so that memory and time are bounded by the limits and by the size of the source.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from microvm.errors import ImageError
from microvm.units import exact_size

NAME_MAX = 255
PATH_MAX = 4096
"""The most bytes of a name, and of a path or a link's target with its NUL (linux/limits.h)."""

MTIME_END = 1 << 34
"""The most seconds of a time of change: what is later is set to this."""

ATTRIBUTE = 128
"""The bytes of memory that an extended attribute takes beside its name and its value."""

# Steps of paths: for all paths together, and for each member on average.
_FREE_STEPS = 1 << 18
_STEPS = 32

_SECONDS_PER_MIB = 10  # of processor time, which even a slow processor needs only a tenth of


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a source; sizes are in bytes.

    :ivar members: files, folders and all else, in all layers together.
    :ivar unpacked: the layers' size when they are decompressed, and that of a host's folder.
    :ivar ratio: how many times the compressed size that may be, once it is beyond `unsuspected`.
    :ivar unsuspected: a size that the layers may have together whatever their ratio.
    :ivar metadata: names, targets of links and extended attributes, all together; each attribute
        counts for `ATTRIBUTE` bytes more.
    :ivar depth: folders within folders.
    :ivar layers: layers of an image.
    :ivar seconds: what a registry may take to send the layers of an image, and mmdebstrap to make a
        Debian.
    :ivar processor: the seconds of processor time that the reading of the layers may take, beside
        10 for each MiB that is stored.
    """

    members: int = 500_000
    unpacked: int = 16 << 30
    ratio: int = 250
    unsuspected: int = 256 << 20
    metadata: int = 128 << 20
    depth: int = 128
    layers: int = 256
    seconds: int = 3600
    processor: int = 60


class Budget:
    """The part of the limits that layers have not used up yet."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._members = 0
        self._unpacked = 0
        self._metadata = 0
        self._steps = 0
        self._stored = 0
        self._keys: set[str] = set()
        self._name = "the source"
        self._used = 0.0
        self._since: float | None = None

    @contextmanager
    def reading(self, name: str) -> Iterator[None]:
        """Count the processor time of the block, in which this thread reads a layer.

        :param name: the layer's name, for messages.
        """
        self._name, self._since = name, time.thread_time()
        try:
            yield
        finally:
            self._used += time.thread_time() - self._since
            self._since = None

    def take_stored(self, size: int, key: str = "") -> None:
        """Add bytes of a layer, as they are stored, to what bounds the work on all layers.

        :param key: what the layer is known by, if anything: what is used again is stored once.
        """
        if key not in self._keys:
            self._stored += size
        if key:
            self._keys.add(key)

    def take_member(self, metadata: int) -> None:
        """Count a member and the bytes of its metadata.

        :raises ImageError: there are too many, or reading them takes too long.
        """
        self._members += 1
        self._metadata += metadata
        if self._members > self.limits.members:
            raise self._beyond("members", f"more than {self.limits.members:,} files")
        if self._metadata > self.limits.metadata:
            what = f"more than {exact_size(self.limits.metadata)} of names and attributes"
            raise self._beyond("metadata", what)
        self._check_time()

    def take_steps(self, count: int) -> None:
        """Count steps from a folder to what is in it, on the way of a path.

        :raises ImageError: there are too many.
        """
        self._steps += count
        if self._steps > _FREE_STEPS + _STEPS * self._members:
            raise ImageError(
                f"{self._name}: larger than it may be: its paths are too long to follow, with more "
                f"than {_STEPS} steps for each of {self._members:,} files",
                hint="have its links lead to their targets directly",
            )

    def check_depth(self, depth: int) -> None:
        """Refuse a folder that lies within too many others.

        :raises ImageError: it does.
        """
        if depth > self.limits.depth:
            raise self._beyond(
                "depth", f"too many folders in each other: more than {self.limits.depth}"
            )

    def take_bytes(self, count: int) -> None:
        """Count bytes of a layer, as they are when decompressed.

        :raises ImageError: there are too many, or reading them takes too long.
        """
        self._unpacked += count
        if self._unpacked > self.limits.unpacked:
            most = exact_size(self.limits.unpacked)
            raise self._beyond("unpacked", f"more than {most} unpacked")
        self._check_time()

    def check_ratio(self) -> None:
        """Refuse layers that are much larger than what they were decompressed from.

        :raises ImageError: they are.
        """
        if self._unpacked > max(self.limits.unsuspected, self._stored * self.limits.ratio):
            times = f"more than {self.limits.ratio} times its compressed size"
            raise self._beyond("ratio", f"unpacked, it is {times}")

    def _check_time(self) -> None:
        if self._since is None:
            return
        most = self.limits.processor + _SECONDS_PER_MIB * (self._stored >> 20)
        if self._used + time.thread_time() - self._since > most:
            raise self._beyond("processor", f"more than {most} s of processor time to read")

    def _beyond(self, limit: str, what: str) -> ImageError:
        message = f"{self._name}: larger than it may be: {what}"
        return ImageError(message, hint=how_to_raise(limit))


def how_to_raise(limit: str) -> str:
    """Return the hint for a source that is beyond a limit, which may well be trusted."""
    return f"if you trust it, `microvm image build --limit {limit}=N` takes a higher limit"
