"""The command `python -m guest_pack`, which `make guest-pack` runs to build the guest packs."""

from __future__ import annotations

from pathlib import Path

import click

from guest_pack.build import build
from guest_pack.parts import parts
from microvm import arches
from microvm.errors import MicroVMError
from microvm.progress import on_stderr


@click.command()
@click.option(
    "--arch",
    "names",
    multiple=True,
    type=click.Choice(list(arches.ARCHES)),
    help="Build the pack of this architecture only; can be repeated.",
)
@click.option(
    "-d", "--directory", type=click.Path(path_type=Path), default=Path("dist"), show_default=True
)
def main(names: tuple[str, ...], directory: Path) -> None:
    """Build a guest pack for each architecture, and print its path."""
    try:
        with on_stderr() as report:
            for arch in map(arches.find, names or arches.ARCHES):
                click.echo(build(arch, parts(arch, report), directory.absolute()))
    except MicroVMError as error:
        lines = filter(None, (str(error), error.detail))
        raise click.ClickException("\n".join(lines)) from error


if __name__ == "__main__":
    main()
