"""A repository in a registry, from which workers download images and snapshots."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, BinaryIO

from microvm import export_archive
from microvm.dask.reference import Reference
from microvm.errors import MicroVMError, UsageError
from microvm.progress import Reporter
from microvm_image import oci_artifact

_NAME = re.compile(r"docker://([^/@\s]+/)*[^/:@\s]+")


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository in a registry, in which each image and snapshot has a tag.

    :ivar name: Name in the form `docker://HOST/REPOSITORY`.
    """

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            hint = "docker://HOST/REPOSITORY, without a tag"
            raise UsageError(f"not a repository: {self.name!r}", hint=hint)

    def offer(self, reference: Reference[Any], report: Reporter) -> None:
        """Upload this host's copy of an image or snapshot, unless the repository contains it."""

        def write(out: BinaryIO) -> None:
            report.notice(f"{self.name} has no {reference}: pushing it")
            reference.write(out)

        oci_artifact.push(self._text(reference), write, report)

    def receive(self, reference: Reference[Any]) -> None:
        """Download an image or a snapshot, and store it as this host's copy."""
        text = self._text(reference)
        with oci_artifact.pull(text, export_archive.bound(reference.size)) as file:
            try:
                reference.read(file)
            except MicroVMError as error:
                error.message = f"{text}: {error.message}"
                raise

    def _text(self, reference: Reference[Any]) -> str:
        return f"{self.name}:{reference.key}"
