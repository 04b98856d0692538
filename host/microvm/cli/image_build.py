"""`microvm image build`: an image, made of what its user names."""

from __future__ import annotations

from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.command()
@click.option("--rootfs", type=FILE, metavar="PATH", help="Alpine archive, or its folder.")
@click.option(
    "--kernel",
    metavar="FILE|small|debian",
    help="Default: small, if `microvm kernel build` has made it, else Debian's.",
)
@click.option("--mirror", metavar="URL", help="Where to download Alpine from.")
@click.option("--arch", type=click.Choice(["x86_64", "aarch64"]), help="Default: this machine's.")
@click.option("-o", "--output", type=FILE, metavar="DIR", help="Make the image here.")
def build(
    rootfs: Path | None,
    kernel: str | None,
    mirror: str | None,
    arch: str | None,
    output: Path | None,
) -> None:
    """Build an image and print its path.

    Without options it is the default image, which `microvm run` builds too if there is none.
    MICROVM_ROOTFS, MICROVM_KERNEL and MICROVM_MIRROR stand in for the options of those names.
    """
    from microvm.progress import on_stderr
    from microvm_image.build import build as build_image

    with on_stderr() as report:
        made = build_image(
            arch=arch, rootfs=rootfs, kernel=kernel, mirror=mirror, output=output, report=report
        )
    click.echo(made.path)
