"""The builder of one image, which follows the plan of a build."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from microvm import cache
from microvm.cache import lock
from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError, MicroVMError
from microvm.images import Image, ImageManifest, check_manifest, folder_of
from microvm.progress import Reporter
from microvm_image import disk, hostname, image_folder, offline
from microvm_image.compression import compressed
from microvm_image.file_range import FileRange
from microvm_image.layer import Layer, TarLayer, sha256
from microvm_image.plan import BuildPlan, PlannedStep
from microvm_image.tree import RootfsTree

_CHANGES = "changes.tar.zst"
_DIGEST = "sha256"
"""The names of the files that the cache keeps for a build step: its changes, and their digest."""


class CommandRunner(Protocol):
    """A function that runs the commands of a recipe, such as `step_runner.StepRunner`."""

    def __call__(
        self, image: Image, command: Sequence[str], show: Callable[[str], None], layer: BinaryIO
    ) -> None:
        """Run a command in a machine. Its output goes to `show`, and the changed files to `layer`.

        `layer` gets a tar archive. `show` is called with each line of the command's output.

        :raises MicroVMError: The command failed; `detail` has the last lines of its output.
        """


class ImageBuilder:
    """The builder of an image that does not exist yet."""

    def __init__(self, plan: BuildPlan, run: CommandRunner | None, report: Reporter) -> None:
        self._plan = plan
        self._run = run
        self._report = report

    def build(self, path: Path, name: str) -> Image:
        """Build the image, and write it to a path. The caller holds the lock of this path."""
        plan = self._plan
        manifest = plan.manifest(name)
        check_manifest(manifest)
        self._report.step(f"building {name}")
        with RootfsTree(plan.limits) as tree:
            for layer in plan.source.layers:
                tree.add(layer)
            if plan.config.workdir:
                tree.folder(plan.config.workdir, make=True)
            for number, step in enumerate(plan.steps, 1):
                self._report.step(f"[{number}/{len(plan.steps)}] {step.text}")
                if step.added:
                    step.added.add_to(tree)
                else:
                    self._add_changes(tree, step)
            return self._write(path, tree, manifest)

    def _add_changes(self, tree: RootfsTree, step: PlannedStep) -> None:
        """Run a command of the recipe, and add the files that it changes to the tree of the image.

        If the cache contains the changes of the command, add these instead of running it. New
        changes are stored in the cache after they have been added without an error.
        """
        path = cache.folder("layers") / step.digest[:32]
        if _add_cached(tree, step, path):
            return
        with lock.held(path, self._report):
            if _add_cached(tree, step, path):
                return
            if path.exists():
                self._report.notice(f"{step.text}: {path} is damaged: the step runs again")
            with cache.staging(path) as folder:
                folder.mkdir()
                self._run_command(tree, step, folder / _CHANGES)
                with ExitStack() as files:
                    changes = FileRange.of(folder / _CHANGES, files)
                    tree.add(_layer(step, changes))
                    (folder / _DIGEST).write_text(sha256(changes))

    def _run_command(self, tree: RootfsTree, step: PlannedStep, file: Path) -> None:
        if self._run is None:
            raise ImageError(f"{step.text}: there is no machine to run it in")
        with self._intermediate(tree, step.digest) as image, compressed(file) as layer:
            try:
                self._run(image, step.command, self._report.line, layer)
            except MicroVMError as error:
                message = f"{step.text}: {error.message}"
                raise ImageError(message, hint=error.hint, detail=error.detail) from error

    @contextmanager
    def _intermediate(self, tree: RootfsTree, digest: str) -> Iterator[Image]:
        """Context manager that yields a temporary image, named after `digest`, with a tree's files.

        The next command of the recipe runs in this image.
        """
        name = self._plan.name(digest)
        manifest = self._plan.manifest(name)
        config = manifest.config._replace(user="", entrypoint=(), cmd=())
        path = folder_of(name)
        # hold the image's lock, so that no other process prunes the image
        with lock.held(path, self._report):
            try:
                yield self._write(path, tree, manifest._replace(config=config, warm=()))
            finally:
                if path.exists():
                    # Rename the image to a temporary folder before its files are deleted, so that
                    # no process finds an image that is only partly removed. `cache.scratch` deletes
                    # the folder at the end of the `with` block.
                    with cache.scratch(path) as removed:
                        path.replace(removed)

    def _write(self, path: Path, tree: RootfsTree, manifest: ImageManifest) -> Image:
        """Write an image to a path, completely or not at all.

        A small root file system is written to the initramfs, a larger one to a disk. The content of
        the disk depends only on the tree and its source, so that images can share the file.
        """
        check_stopped()
        plan = self._plan
        hostname.settle(tree)
        offline.settle(tree)
        small = tree.is_small()

        def write_disk(out: Path) -> None:
            self._report.step(f"writing the disk of {manifest.name}")
            disk.write(tree, out, plan.source.digest)

        return image_folder.write(
            path,
            manifest,
            plan.kernel,
            plan.programs,
            files=tree.entries() if small else (),
            write_disk=None if small else write_disk,
        )


def _add_cached(tree: RootfsTree, step: PlannedStep, path: Path) -> bool:
    """Add the files that a command changed in an earlier run, from the cache at `path`, to a tree.

    Return False if the files are missing or damaged.
    """
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


def _layer(step: PlannedStep, changes: FileRange) -> Layer:
    return TarLayer(step.text, lambda _: changes, is_packed_here=True)
