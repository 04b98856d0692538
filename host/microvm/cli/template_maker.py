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


def run_options() -> PoolOptions:
    """Return the options of machines that the user has preset for `microvm run`."""
    presets = Presets()
    found = {name: presets.find(name, "run") for name in options_of(PoolOptions)}
    return cast(PoolOptions, {name: preset.value for name, preset in found.items() if preset})


def make_template(image: Image, given: PoolOptions, report: Reporter) -> None:
    """Save a template of an image, if none exists, by starting a machine with the `given` options.

    :raises TemplateError: If the machine could only be booted.
    :raises MicroVMError: If the machine could not be started; see `MicroVM.start`.
    """
    report.step(f"saving a template of {image.name}")
    options: PoolOptions = {**given, "notify": report.notice, "cold": False}

    async def start() -> bool:
        async with MicroVM(image, **options) as vm:
            return vm.cloned

    if not asyncio.run(start()):
        raise TemplateError(
            f"cannot save a template of {image.name}: the machine was booted instead of cloned",
            hint=f"`microvm run -v --image {image.name} -- true`, with the same options, shows why",
        )


def try_template(image: Image, report: Reporter) -> None:
    """Save a template for `microvm run` without options, if the cache can be written.

    If this fails, notify the user.
    """
    if not os.access(cache.root(), os.W_OK):
        return
    options = run_options()
    options.pop("arch", None)  # the image has its own architecture
    try:
        make_template(image, options, report)
    except MicroVMError as error:
        report.notice(f"no template was saved, so the first start takes longer: {error.message}")
