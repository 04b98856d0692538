"""The plan of a build: the list of everything that an image will contain, with digests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from microvm.arches import Arch
from microvm.images import FORMAT, ImageManifest
from microvm.images.config import ImageConfig
from microvm_image import offline
from microvm_image.added_files import AddedFiles
from microvm_image.kernel.selection import Kernel
from microvm_image.limits import Limits
from microvm_image.pip import wheels
from microvm_image.pip.wheels import Wheels
from microvm_image.programs import Programs
from microvm_image.recipe import Recipe, RunStep
from microvm_image.source import ImageSource


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of a build: a command to run, or files to add, with a digest of its result.

    :ivar command: The command; empty if the step adds files.
    :ivar added: The files or wheels that the step adds; None if it runs a command.
    :ivar digest: A digest of everything that is in the image after the step.
    """

    command: tuple[str, ...]
    text: str
    added: AddedFiles | Wheels | None
    digest: str


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The list of everything that an image will contain.

    :ivar config: The default options of commands in the image.
    :ivar digest: A digest of everything in the image, which is a part of the image's name.
    """

    arch: Arch
    programs: Programs
    kernel: Kernel
    source: ImageSource
    recipe: Recipe
    config: ImageConfig
    limits: Limits
    pip: Wheels | None
    steps: tuple[PlannedStep, ...]
    digest: str

    def name(self, digest: str) -> str:
        """Return a name for the image: its source, its architecture and a part of the digest.

        If the source is an image that has such a name, only the first part of this name is used.

        :param digest: The digest of the plan; or of a step, for the unfinished image after it.
        """
        source, *_ = self.source.name.rpartition("//")[2].split()
        source = re.sub(rf"-{self.arch.name}-[0-9a-f]{{12}}$", "", source)
        base = re.sub(r"[^A-Za-z0-9.+~-]+", "-", source).strip("-.~+")
        return f"{base[:60] or 'image'}-{self.arch.name}-{digest[:12]}"

    def manifest(self, name: str) -> ImageManifest:
        """Return the manifest of an image whose initramfs and disk are not written yet."""
        return ImageManifest(
            format=FORMAT,
            name=name,
            arch=self.arch.name,
            base=self.source.name,
            bus=self.kernel.bus,
            kernel_version=self.kernel.version,
            kernel_size=len(self.kernel.data),
            kernel_sha256=self.kernel.sha256,
            source=self.source.pinned,
            source_sha256=self.source.digest,
            daemon_sha256=self.programs.sha256,
            schema=self.programs.schema,
            initramfs_size=0,
            initramfs_sha256="",
            disk_size=0,
            disk_sha256="",
            config=self.config,
            warm=self.recipe.warm,
            history=tuple(self.recipe.history(self.pip.history() if self.pip else ())),
        )


def make_plan(
    arch: Arch,
    programs: Programs,
    kernel: Kernel,
    source: ImageSource,
    recipe: Recipe,
    limits: Limits,
    added: Sequence[AddedFiles],
    pip: Wheels | None = None,
) -> BuildPlan:
    """Return the plan of a build. All added files are read to compute their digests.

    :param added: The files of each step that adds files, in the order of the steps.
    :param pip: The wheels of the recipe's Python packages.
    :raises ImageError: An added file has changed since it was listed.
    """
    config = recipe.config(source.config)
    digest = _digest(
        FORMAT,
        arch.name,
        (programs.sha256, programs.schema),
        (kernel.sha256, kernel.bus),
        [(path, hashlib.sha256(data).hexdigest()) for path, data in kernel.modules.items()],
        source.digest,
        offline.FILES,
        # The digest includes the environment and the working directory of the commands, because the
        # results of the commands may depend on them.
        (config.env, config.workdir),
    )
    steps, rest = [], iter(added)
    if source.install:
        digest = _digest(digest, "install", source.install)
        text = f"install the packages of {source.name.split()[0]}"
        steps.append(PlannedStep(source.install, text, None, digest))
    if pip:
        # The command that installs the wheels reads no other files, so their digest is enough.
        digest = _digest(digest, "pip", pip.digest(), wheels.COMMAND)
        number = len(pip.packages)
        count = f"{number} Python package{'s' if number != 1 else ''}"
        steps.append(PlannedStep((), f"add {count}", pip, digest))
        steps.append(PlannedStep(wheels.COMMAND, f"install {count}", None, digest))
    for step in recipe.steps:
        if isinstance(step, RunStep):
            digest = _digest(digest, "run", step.command)
            steps.append(PlannedStep(step.command, str(step), None, digest))
        else:
            files = next(rest)
            digest = _digest(digest, "add", files.digest())
            steps.append(PlannedStep((), str(step), files, digest))
    digest = _digest(digest, config, recipe.warm)
    return BuildPlan(
        arch, programs, kernel, source, recipe, config, limits, pip, tuple(steps), digest
    )


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
