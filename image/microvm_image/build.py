"""The making of an image from a recipe: of a source, a kernel and our own programs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from microvm import arches, cache, guest_pack
from microvm.arches import Arch
from microvm.cache import lock
from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError, MicroVMError
from microvm.images import (
    DISK,
    FORMAT,
    INITRAMFS,
    KERNEL,
    MANIFEST,
    Image,
    ImageManifest,
    check_manifest,
    deduplication,
    folder_of,
    load,
    tags,
)
from microvm.images.config import Config
from microvm.progress import NullReporter, Reporter
from microvm.system import private
from microvm_image import defaults, disk, downloads, hostname, initramfs, programs
from microvm_image import rootfs as bases
from microvm_image.added_files import AddedFiles
from microvm_image.checks import check
from microvm_image.compression import compressed
from microvm_image.file_range import FileRange
from microvm_image.kernel import selection
from microvm_image.kernel.selection import Kernel
from microvm_image.layer import Layer, TarLayer, sha256
from microvm_image.limits import Limits
from microvm_image.programs import Programs
from microvm_image.recipe import Recipe, RunStep
from microvm_image.source import ImageSource
from microvm_image.sources.find import find
from microvm_image.tree import RootfsTree

ALPINE = "alpine"
"""The source that an image has by default."""

_CHANGES = "changes.tar.zst"
_DIGEST = "sha256"
"""The files that are kept of a command that has run: what it has changed, and that one's digest."""


class CommandRunner(Protocol):
    """What runs a step that is a command: in a machine, which this package knows nothing of."""

    def __call__(
        self, image: Image, command: Sequence[str], show: Callable[[str], None], layer: BinaryIO
    ) -> None:
        """Run a command in a machine of an image, and write what it has changed as a tar archive.

        :param show: to be called with each line of its output.
        :raises MicroVMError: it failed; `detail` has the end of its output.
        """


@dataclass(frozen=True, slots=True)
class _Step:
    """A step, and what it is known by.

    :ivar content: what is added; None is a command.
    :ivar digest: the digest of all that has gone into the image when it is done.
    """

    command: tuple[str, ...]
    text: str
    content: AddedFiles | None
    digest: str


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that goes into an image.

    :ivar config: what a run has by default.
    :ivar digest: the digest of all of it.
    """

    arch: Arch
    programs: Programs
    kernel: Kernel
    source: ImageSource
    recipe: Recipe
    config: Config
    limits: Limits
    steps: tuple[_Step, ...]
    digest: str

    def name(self, digest: str) -> str:
        """Return the name of the image that has that digest, or is an earlier state of it."""
        what, *_ = self.source.name.rpartition("//")[2].split()
        base = re.sub(r"[^A-Za-z0-9.+~-]+", "-", what).strip("-.~+")
        return f"{base[:60] or 'image'}-{self.arch.name}-{digest[:12]}"


def build(
    recipe: Recipe | None = None,
    *,
    arch: str | None = None,
    rootfs: Path | None = None,
    kernel: str | Path | None = None,
    mirror: str | None = None,
    output: Path | None = None,
    tag: str | None = None,
    limits: Limits | None = None,
    run: CommandRunner | None = None,
    report: Reporter | None = None,
) -> Image:
    """Return the image of a recipe, made now if it is not there already.

    What a command of the recipe has changed is kept in the cache, and the command is not run again
    while all that comes before it is the same.

    :param recipe: by default that of the default image, which has no more than its base.
    :param arch: `x86_64` or `aarch64`; by default this machine's.
    :param rootfs: the Alpine archive or a folder that holds it; see `rootfs.find` for the default.
    :param kernel: a file, `small` or `debian`; see `kernel.given` for the default.
    :param mirror: where to download the Alpine archive if it is nowhere here.
    :param output: the folder to become the image; by default one in the cache, named by its parts.
    :param tag: what to call it, too, where it is in the cache.
    :param limits: the bounds of the source and of what is put on top of it.
    :param run: what runs the steps that are commands; without it there can be none.
    :param report: who is told how far it is; nobody by default.
    :raises ImageError: a part cannot be had or is not what it should be, a step failed, or the disk
        is full; or the guest pack speaks another protocol. Nothing half made is left.
    """
    recipe = recipe or Recipe()
    tag = tags.parse(tag) if tag else None
    report = report or NullReporter()
    if output:
        _check_output(output.absolute())
    target = arches.find(arch)
    guest_pack.check(target, programs.schema())
    with cache.disk_errors():
        check(recipe, target, kernel, limits)
    with cache.disk_errors(), downloads.in_use(report), ExitStack() as files:
        if recipe.source in {"", ALPINE} and not recipe.packages:
            base = bases.find(target, rootfs, mirror, report)
        else:
            base = files.enter_context(
                find(
                    recipe.source or ALPINE,
                    target,
                    packages=recipe.packages,
                    locate=recipe.path,
                    limits=limits,
                    report=report,
                )
            )
        parts = programs.build(target, report), selection.find(target, kernel, report), base
        plan = _plan(target, *parts, recipe, limits or Limits())
        name = plan.name(plan.digest)
        path = output.absolute() if output else folder_of(name)
        image = _existing(path, name)
        is_default = recipe == Recipe() and not (rootfs or kernel or mirror or output)
        with lock.held(path, report) if tag or image is None else nullcontext():
            if tag or image is None:
                image = _existing(path, name, report)
                image = image or _ImageBuilder(plan, run, report).build(path, name)
            # Before anybody can prune it.
            if tag:
                tags.assign(tag, name, report)
            if is_default:
                defaults.remember(target, image)
    downloads.expire()
    return image


def _check_output(path: Path) -> None:
    """Check that no other user can replace the folder that an image is written to.

    :raises ImageError: another user can.
    """
    with cache.disk_errors():
        found = private.exposure(str(path.parent))
    if found:
        raise ImageError(
            f"cannot write an image to {path}: {found.path} {found.why}",
            hint="choose a folder that only you can change; or build it in the cache, without -o, "
            "and write it to a file by `microvm image export`",
        )


def _plan(
    arch: Arch,
    programs: Programs,
    kernel: Kernel,
    source: ImageSource,
    recipe: Recipe,
    limits: Limits,
) -> _Plan:
    config = recipe.config(source.config)
    digest = _digest(
        FORMAT,
        arch.name,
        (programs.sha256, programs.schema),
        (kernel.sha256, kernel.bus),
        [(path, hashlib.sha256(data).hexdigest()) for path, data in kernel.modules.items()],
        source.digest,
        (config.env, config.workdir),  # which a command that is a step has, too
    )
    steps = []
    for step in recipe.steps:
        if isinstance(step, RunStep):
            digest = _digest(digest, "run", step.command)
            steps.append(_Step(step.command, str(step), None, digest))
        else:
            content = AddedFiles(step, recipe, limits)
            digest = _digest(digest, "add", content.digest)
            steps.append(_Step((), str(step), content, digest))
    digest = _digest(digest, config, recipe.warm)
    return _Plan(arch, programs, kernel, source, recipe, config, limits, tuple(steps), digest)


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()


class _ImageBuilder:
    """The builder of one image that is not there yet."""

    def __init__(self, plan: _Plan, run: CommandRunner | None, report: Reporter) -> None:
        self._plan = plan
        self._run = run
        self._report = report

    def build(self, path: Path, name: str) -> Image:
        """Make the image at the path, whose lock the caller has."""
        plan = self._plan
        check_manifest(self._manifest(name))
        self._report.step(f"building {name}")
        with RootfsTree(plan.limits) as tree:
            for layer in plan.source.layers:
                tree.add(layer)
            if plan.config.workdir:
                tree.folder(plan.config.workdir, make=True)
            for number, step in enumerate(plan.steps, 1):
                self._report.step(f"[{number}/{len(plan.steps)}] {step.text}")
                if step.content:
                    step.content.add_to(tree)
                else:
                    self._run_once(tree, step)
            return self._write(path, tree, self._manifest(name))

    def _run_once(self, tree: RootfsTree, step: _Step) -> None:
        """Lay over the tree what a command changes: it runs unless it has with all of this before.

        What it has changed goes into the cache when the tree has taken it, with its digest.
        """
        path = cache.folder("layers") / step.digest[:32]
        if _add_kept(tree, step, path):
            return
        with lock.held(path, self._report):
            if _add_kept(tree, step, path):
                return
            if path.exists():
                what = f"{step.text}: {path} is not what was kept there"
                self._report.notice(f"{what}: the step runs again")
            with cache.staging(path) as folder:
                folder.mkdir()
                self._run_step(tree, step, folder / _CHANGES)
                with ExitStack() as files:
                    changes = FileRange.of(folder / _CHANGES, files)
                    tree.add(_layer(step, changes))
                    (folder / _DIGEST).write_text(sha256(changes))

    def _run_step(self, tree: RootfsTree, step: _Step, file: Path) -> None:
        if self._run is None:
            raise ImageError(f"{step.text}: there is no machine to run it in")
        with self._so_far(tree, step.digest) as image, compressed(file) as layer:
            try:
                self._run(image, step.command, self._report.line, layer)
            except MicroVMError as error:
                message = f"{step.text}: {error.message}"
                raise ImageError(message, hint=error.hint, detail=error.detail) from error

    @contextmanager
    def _so_far(self, tree: RootfsTree, digest: str) -> Iterator[Image]:
        """Yield the image as it is before a step; it goes with the step."""
        name = self._plan.name(digest)
        manifest = self._manifest(name)
        config = manifest.config._replace(user="", entrypoint=(), cmd=())
        path = folder_of(name)
        with lock.held(path, self._report):  # nobody is to prune it
            try:
                yield self._write(path, tree, manifest._replace(config=config, warm=()))
            finally:
                if path.exists():
                    # scratch deletes it; until then no process finds it half removed
                    with cache.scratch(path) as grave:
                        path.replace(grave)

    def _manifest(self, name: str) -> ImageManifest:
        """Return the manifest of an image whose files are not written yet."""
        plan = self._plan
        return ImageManifest(
            format=FORMAT,
            name=name,
            arch=plan.arch.name,
            base=plan.source.name,
            bus=plan.kernel.bus,
            kernel_version=plan.kernel.version,
            kernel_size=len(plan.kernel.data),
            kernel_sha256=plan.kernel.sha256,
            source=plan.source.pinned,
            source_sha256=plan.source.digest,
            daemon_sha256=plan.programs.sha256,
            schema=plan.programs.schema,
            initramfs_size=0,
            initramfs_sha256="",
            disk_size=0,
            disk_sha256="",
            config=plan.config,
            warm=plan.recipe.warm,
            history=tuple(plan.recipe.history()),
        )

    def _write(self, path: Path, tree: RootfsTree, manifest: ImageManifest) -> Image:
        """Write an image at the path, whole or not at all: as an initramfs where it is small.

        What is on the disk depends on the tree and its source alone: others may have the same.
        """
        check_stopped()
        plan = self._plan
        hostname.settle(tree)
        small = tree.is_small()
        with cache.staging(path) as folder:
            folder.mkdir()
            (folder / KERNEL).write_bytes(plan.kernel.data)
            entries = tree.entries() if small else ()
            with (folder / INITRAMFS).open("wb") as file:
                initramfs.write(entries, plan.programs.files, plan.kernel.modules, file)
            size, sha256 = _measured(folder / INITRAMFS)
            manifest = manifest._replace(initramfs_size=size, initramfs_sha256=sha256)
            if not small:
                self._report.step(f"writing the disk of {manifest.name}")
                disk.write(tree, folder / DISK, plan.source.digest)
                size, sha256 = _measured(folder / DISK)
                manifest = manifest._replace(disk_size=size, disk_sha256=sha256)
            for part in folder.iterdir():
                part.chmod(cache.READ_ONLY_MODE)
            (folder / MANIFEST).write_text(manifest.json())
            if path.parent == cache.folder("images"):
                deduplication.share(folder, manifest)
        return load(path)


def _add_kept(tree: RootfsTree, step: _Step, path: Path) -> bool:
    """Lay over the tree what a command has changed before; tell whether that is there, unharmed."""
    with ExitStack() as files:
        try:
            expected = cache.read(path / _DIGEST, 64)
            changes = FileRange.of(path / _CHANGES, files)
        except OSError:
            return False
        if sha256(changes).encode() != expected:
            return False
        tree.add(_layer(step, changes))
    return True


def _layer(step: _Step, changes: FileRange) -> Layer:
    return TarLayer(step.text, lambda _: changes, is_packed_here=True)


def _measured(path: Path) -> tuple[int, str]:
    """Return the size of a file, and the digest of what is in it."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _existing(path: Path, name: str, report: Reporter | None = None) -> Image | None:
    """Return the image at the path if it is the same one, or None if one may be made there.

    :param report: it is notified why an existing image is not used.
    :raises ImageError: something that is no image is in the way.
    """
    try:
        image = load(path)
    except ImageError as error:
        if path.exists() and not _replaceable(path):
            message = f"{path}: is there, and is no image"
            raise ImageError(message, hint="remove it, or choose another") from None
        if report and path.is_dir() and any(path.iterdir()):
            report.notice(f"{error.message}: {name} is built again")
        return None
    return image if image.name == name and not image.is_imported else None


def _replaceable(path: Path) -> bool:
    if path.parent == cache.folder("images"):
        return True  # whatever is left of it was ours
    return path.is_dir() and ((path / MANIFEST).exists() or not any(path.iterdir()))
