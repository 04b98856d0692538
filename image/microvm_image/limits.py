"""The limits of an image's source, and how much of them has been used up.

A source can be hostile: a few bytes of it may stand for terabytes, or for a million files. All
layers of a tree share a `Budget`. Each reader counts its work there, and fails when the budget is
used up. So the limits and the size of the source bound memory and time.
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
"""Maximum modification time in seconds; a later time is replaced by this one."""

ATTRIBUTE = 128
"""Number of bytes of memory that an extended attribute takes beside its name and its value."""

# Maximum number of steps for following paths: for all paths together, and in addition for each
# member.
_FREE_STEPS = 1 << 18
_STEPS = 32

_SECONDS_PER_MIB = 10  # seconds of processor time; even a slow processor needs only a tenth of them


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a source; sizes are in bytes.

    :ivar members: number of files, folders and other members, in all layers together.
    :ivar unpacked: size of all layers when decompressed, or of a folder of the host.
    :ivar ratio: decompressed size of all layers, as a multiple of their compressed size. It counts
        only for layers that are larger than `unsuspected`.
    :ivar unsuspected: decompressed size of all layers up to which any ratio is allowed.
    :ivar metadata: size of all names, targets of links and extended attributes; each attribute
        counts for `ATTRIBUTE` bytes more.
    :ivar depth: number of folders within folders.
    :ivar layers: number of layers of an image.
    :ivar seconds: number of seconds that a registry may take to send the layers of an image, and
        mmdebstrap to build a Debian.
    :ivar processor: number of seconds of processor time for reading the layers; each MiB of the
        layers, as they are stored, adds 10.
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
        """Add the stored size of a layer, which raises the limits of ratio and processor time.

        :param key: the layer's digest; "" if none is known. A layer that is used twice counts once.
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
        """Count the steps from a folder to its members that following a path takes.

        :raises ImageError: there are too many.
        """
        self._steps += count
        if self._steps > _FREE_STEPS + _STEPS * self._members:
            raise ImageError(
                f"{self._name}: larger than it may be: its paths are too long to follow, with more "
                f"than {_STEPS} steps for each of {self._members:,} files",
                hint="make its links point to their targets directly",
            )

    def check_depth(self, depth: int) -> None:
        """Refuse a folder that is nested in too many others.

        :raises ImageError: it is.
        """
        if depth > self.limits.depth:
            raise self._beyond("depth", f"folders are nested more than {self.limits.depth} deep")

    def take_bytes(self, count: int) -> None:
        """Count bytes of a layer in decompressed form.

        :raises ImageError: there are too many, or reading them takes too long.
        """
        self._unpacked += count
        if self._unpacked > self.limits.unpacked:
            most = exact_size(self.limits.unpacked)
            raise self._beyond("unpacked", f"more than {most} unpacked")
        self._check_time()

    def check_ratio(self) -> None:
        """Refuse layers that are much larger than their compressed form.

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
    """Return the hint for a source that is beyond a limit but may be trusted."""
    return f"if you trust it, raise the limit: `microvm image build --limit {limit}=N`"
