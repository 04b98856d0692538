"""The limits of size and time for the source of an image, and how much of them is used up.

A source can be hostile: a few bytes of it may stand for terabytes, or for a million files. All
layers of a root file system share a `Budget`. Each reader of a layer counts its work there, and
fails when the budget is used up. So memory and time are limited.
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
"""Maximum number of bytes of a file name, and of a path or a link's target with its NUL
(linux/limits.h)."""

MTIME_END = 1 << 34
"""Maximum modification time of a file, in seconds since 1970. It replaces later times."""

ATTRIBUTE = 128
"""Number of bytes of memory that an extended attribute takes in addition to its name and value."""

# To follow a path takes one step for each folder in the path; a symbolic link adds the steps of its
# target. All paths of a source together may take _FREE_STEPS steps, plus _STEPS for each file.
# Without a limit, links of a hostile source could occupy this process for a very long time.
_FREE_STEPS = 1 << 18
_STEPS = 32

# Number of seconds by which each MiB of the layers raises the limit of processor time. Even a slow
# processor needs only a tenth of these seconds.
_SECONDS_PER_MIB = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits for the source of an image. Sizes are in bytes.

    :ivar members: Maximum number of files, folders and links, in all layers together.
    :ivar unpacked: Maximum size of all layers when decompressed, of a folder of the host, or of the
        wheels that pip downloads.
    :ivar ratio: Maximum decompressed size of all layers, as a multiple of their compressed size. It
        applies only if the decompressed size exceeds `unsuspected`.
    :ivar unsuspected: Decompressed size of all layers up to which any ratio is allowed.
    :ivar metadata: Maximum size of all names, targets of links and extended attributes. Each
        attribute counts for `ATTRIBUTE` bytes more.
    :ivar depth: Maximum number of folders within folders.
    :ivar layers: Maximum number of layers of an image.
    :ivar seconds: Maximum number of seconds for a registry to send the layers of an image, for
        mmdebstrap to build a root file system of Debian, and for pip to download wheels.
    :ivar processor: Maximum number of seconds of processor time to read the layers. Each MiB of the
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
    """The limits of a source, and the part of them that the layers read so far have used up."""

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
        """Context manager that counts the processor time of a block that reads the layer `name`."""
        self._name, self._since = name, time.thread_time()
        try:
            yield
        finally:
            self._used += time.thread_time() - self._since
            self._since = None

    def take_stored(self, size: int, key: str = "") -> None:
        """Count the stored size of the layer with the digest `key`. The other limits grow with it.

        The decompressed size and the processor time may grow with the stored size.

        :param key: The layer's digest; "" if it is unknown. A layer that is used twice counts once.
        """
        if key not in self._keys:
            self._stored += size
        if key:
            self._keys.add(key)

    def take_member(self, metadata: int) -> None:
        """Count one file, folder or link of a layer, and the bytes of its names and attributes.

        :raises ImageError: There are too many, or reading them takes too long.
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
        """Count the steps of following a path of a layer. Each folder in the path is one step.

        :raises ImageError: There are too many.
        """
        self._steps += count
        if self._steps > _FREE_STEPS + _STEPS * self._members:
            raise ImageError(
                f"{self._name}: larger than it may be: its paths are too long to follow, with more "
                f"than {_STEPS} steps for each of {self._members:,} files",
                hint="make its links point to their targets directly",
            )

    def check_depth(self, depth: int) -> None:
        """Check that a folder is nested in at most `Limits.depth` other folders.

        :raises ImageError: It is nested too deeply.
        """
        if depth > self.limits.depth:
            raise self._beyond("depth", f"folders are nested more than {self.limits.depth} deep")

    def take_bytes(self, count: int) -> None:
        """Count bytes of a layer in decompressed form.

        :raises ImageError: There are too many, or reading them takes too long.
        """
        self._unpacked += count
        if self._unpacked > self.limits.unpacked:
            most = exact_size(self.limits.unpacked)
            raise self._beyond("unpacked", f"more than {most} unpacked")
        self._check_time()

    def check_ratio(self) -> None:
        """Check that the layers are not suspiciously large, compared with their compressed form.

        :raises ImageError: The layers are too large.
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
    """Return the hint that says how to raise the limit of this name, for a trusted source."""
    return f"if you trust it, raise the limit: `microvm image build --limit {limit}=N`"
