"""Starts a machine only to save its template, so that later starts are fast."""

from __future__ import annotations

import asyncio
import os
from typing import cast

from microvm import cache
from microvm.cli.presets import Presets
from microvm.errors import MicroVMError, TemplateError
from microvm.images import Image
from microvm.machine.machine import MicroVM
from microvm.option import options_of
from microvm.options import PoolOptions
from microvm.progress import Reporter
from microvm.system import platform


def run_image() -> str | None:
    """Return the image that the user has preset for `microvm run`; None for the default image."""
    preset = Presets().find("image", "run")
    return preset.value if preset else None


def run_options() -> PoolOptions:
    """Return the options of machines that the user has preset for `microvm run`."""
    presets = Presets()
    found = {name: presets.find(name, "run") for name in options_of(PoolOptions)}
    return cast(PoolOptions, {name: preset.value for name, preset in found.items() if preset})


def make_template(image: Image, given: PoolOptions, report: Reporter) -> None:
    """Save a template of an image, if none exists, by starting a machine with the `given` options.

    :raises TemplateError: If no template can be saved or cloned.
    :raises MicroVMError: If the machine could not be started; see `MicroVM.start`.
    """
    if not image.is_ours:
        raise TemplateError(
            f"other users can change {image.path}, so no template of it is saved",
            hint="let only yourself change the folder and the folders above it",
        )
    options: PoolOptions = {**given, "notify": report.notice, "cold": False}

    async def start() -> bool:
        machine = MicroVM(image, **options)
        machine._on_save = lambda: report.step(f"saving a template of {image.name}")
        machine._must_clone = True
        async with machine as vm:
            return vm.cloned

    if not asyncio.run(start()):
        raise TemplateError(f"no template of {image.name} was saved: its machine was booted")


def try_template(image: Image, report: Reporter) -> None:
    """Save a template for `microvm run` without options, if such a run uses one.

    If this fails, notify the user.
    """
    options = run_options()
    options.pop("arch", None)  # the image has its own architecture
    if (
        options.get("cold")
        or platform.lack(platform.CLONES)
        or not os.access(cache.root(), os.W_OK)
    ):
        return
    try:
        make_template(image, options, report)
    except MicroVMError as error:
        report.notice(f"no template was saved, so starts take longer: {error}")
