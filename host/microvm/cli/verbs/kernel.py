"""`microvm kernel`: build, list and remove our own small kernel."""

from __future__ import annotations

import click

from microvm.arches import ARCHES
from microvm.cli import shared, signals
from microvm.cli.facts import echo_json, time_text
from microvm.cli.group import Group
from microvm.cli.series import for_each


@click.group(cls=Group)
@click.pass_context
def kernel(context: click.Context) -> None:
    """Build, list and remove small kernels.

    Images with one boot in a fraction of the time that the distribution's kernel takes.
    """
    context.with_resource(signals.raised())


@kernel.command()
@click.option("--arch", type=click.Choice([*ARCHES]), help="Default: this machine's.")
@shared.quiet
def build(arch: str | None) -> None:
    """Compile a small kernel and print its path.

    It is made from the distribution's source, which takes some minutes and 1 GB of disk meanwhile,
    once. Images built from then on have it, the default one too; `microvm image build --kernel
    debian` and MICROVM_KERNEL=debian are the way back.
    """
    from microvm.progress import on_stderr
    from microvm_image.kernel import small

    with on_stderr() as report:
        made = small.build(arch=arch, report=report)
    click.echo(made)


@kernel.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def ls(as_json: bool) -> None:
    """List the kernels in the cache.

    Images get the first of their architecture that this version of microvm built.
    """
    from microvm.cli.table import echo
    from microvm_image.kernel import compiled

    kernels = [(path, path.stat()) for path in compiled.installed()]
    if as_json:
        echo_json(
            [
                {
                    "name": path.name,
                    "path": str(path),
                    "size": status.st_size,
                    "created": time_text(status.st_mtime),
                }
                for path, status in kernels
            ]
        )
        return
    rows = [
        (path.name, f"{status.st_size / 1e6:.1f} MB", time_text(status.st_mtime))
        for path, status in kernels
    ]
    echo([("NAME", "SIZE", "CREATED"), *rows])


@kernel.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="NAME…", shell_complete=shared.completes("kernel")
)
def rm(names: tuple[str, ...]) -> None:
    """Remove kernels from the cache; images that have one keep it.

    If a NAME cannot be removed, the others are removed all the same, and the exit status is 125.
    """
    from microvm_image.kernel import compiled

    for _ in for_each(names, compiled.remove):
        pass
