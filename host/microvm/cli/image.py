"""`microvm image`: build, list and remove images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from microvm.cli.image_build import build

if TYPE_CHECKING:
    from microvm_image import Image


@click.group()
def image() -> None:
    """Build, list and remove images."""


image.add_command(build)


@image.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with all that is known.")
def ls(as_json: bool) -> None:
    """List the images in the cache."""
    from microvm.cli.table import echo
    from microvm_image import installed

    images = list(installed())
    if as_json:
        import json

        click.echo(json.dumps([_facts(each) for each in images], indent=2))
        return
    echo([("NAME", "BASE", "KERNEL", "SIZE", "CREATED"), *map(_row, images)])


@image.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
def rm(names: tuple[str, ...]) -> None:
    """Remove images from the cache."""
    from microvm.progress import on_stderr
    from microvm_image import remove

    with on_stderr() as report:
        for name in names:
            remove(name, report)


def _facts(image: Image) -> dict[str, object]:
    from dataclasses import asdict

    return {
        **asdict(image.manifest),
        "path": str(image.path),
        "size": image.size,
        "created": _created(image),
    }


def _row(image: Image) -> tuple[str, ...]:
    manifest = image.manifest
    size = f"{image.size / 1e6:.1f} MB"
    return image.name, manifest.base, manifest.kernel_version, size, _created(image)


def _created(image: Image) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(image.path.stat().st_mtime).astimezone().isoformat(" ", "seconds")
