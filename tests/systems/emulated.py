"""A distribution for another processor, which runs as a guest of microvm on this host."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microvm import MicroVM, arches
from microvm.images import load
from microvm.options import MachineOptions
from microvm.progress import LineReporter
from microvm_image.build import build
from microvm_image.kernel import selection
from microvm_image.recipe import Recipe, RunStep, shell
from microvm_image.step_runner import StepRunner

from .system import HERE, USER, download

#: The factor for all time limits in the emulated system.
PATIENCE = "20"


@dataclass(frozen=True, slots=True)
class EmulatedSystem:
    """A release of Debian with its own kernel and QEMU, in an emulated machine.

    Each machine of a new user is emulated in the emulated machine, so all steps are slow.

    :ivar suite: name of the release.
    :ivar python: version of its Python.
    """

    name: str
    suite: str
    python: str
    arch: str

    @property
    def folder(self) -> str:
        """The name of the folder of its files on this host."""
        return f"{self.suite}-{self.arch}"

    def make(self, root: Path) -> None:
        """Build the image, and store its path in a folder."""
        packages = ("python3", "python3-venv", arches.find(self.arch).qemu_package, "passwd")
        users = RunStep(shell(f"useradd --create-home {USER}"))
        image = build(
            Recipe(f"debian:{self.suite}", packages, steps=(users,)),
            arch=self.arch,
            kernel=selection.DEBIAN,
            tag=f"test-systems-{self.arch}",
            run=StepRunner(memory="1G", cpus=2),
            report=LineReporter(),
        )
        root.mkdir()
        (root / "image").write_text(image.name)

    def download(self, built: Path, wheels: Path) -> None:
        """Copy the wheels and their dependencies for this system into a folder."""
        download(built, wheels, python=self.python, machine=self.arch)

    def visit(self, root: Path, wheels: Path, *, user: bool) -> dict[str, Any]:
        """Run the steps of a new user, as root or as an unprivileged user, and return the results.

        :raises RunFailed: a step failed.
        """
        found = asyncio.run(self._visit((root / "image").read_text(), wheels, user=user))
        return {"system": self.name, "as": "a user" if user else "root", **found}

    async def _visit(self, image: str, wheels: Path, *, user: bool) -> dict[str, Any]:
        options: MachineOptions = {"memory": "2560M", "cpus": 2, "disk": "8G", "cold": True}
        async with MicroVM(load(image), **options) as vm:
            await vm.put(wheels, "/wheels")
            await vm.put(HERE / "newcomer.py", "/newcomer.py")
            done = await vm.run(
                ["python3", "/newcomer.py", "/wheels"],
                env={"MICROVM_PATIENCE": PATIENCE},
                user=USER if user else "root",
                text=True,
                check=True,
            )
        found: dict[str, Any] = json.loads(done.stdout)
        return found
