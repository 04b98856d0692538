"""`microvm kernel`: build, list and remove small kernels, which make guests boot faster."""

from __future__ import annotations

import click

from microvm.arches import ARCHES
from microvm.cli import parameters, signals
from microvm.cli.failures import for_each
from microvm.cli.group import VerbGroup
from microvm.cli.properties import echo_json, echo_table, shown_time, time_text
from microvm.progress import on_stderr
from microvm_image.kernel import cached, small


@click.group(cls=VerbGroup)
@click.pass_context
def kernel(context: click.Context) -> None:
    """Build, list and remove small kernels.

    An image with a small kernel boots several times faster than one with the kernel of a
    distribution.
    """
    context.with_resource(signals.exit_on_signal())


@kernel.command()
@click.option(
    "--arch",
    type=click.Choice([*ARCHES]),
    help="Build for this architecture. [default: the host's architecture]",
)
@parameters.verbose
def build(arch: str | None) -> None:
    """Compile a small kernel and print its path.

    The kernel is compiled from Debian's source. This takes several minutes, and 1 GB of disk until
    it is finished. Images that are built later have the small kernel, including the default image.
    To build an image with Debian's kernel, use `microvm image build --kernel debian` or set
    MICROVM_KERNEL=debian.
    """
    with on_stderr() as report:
        made = small.build(arch=arch, report=report)
    click.echo(made)


@kernel.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@parameters.no_trunc
def ls(as_json: bool, full: bool) -> None:
    """List the kernels in the cache.

    A new image gets the first kernel in this list that is for its architecture and was built by
    this version of microvm.
    """
    kernels = [
        (path.name, str(path), (status := path.stat()).st_size, status.st_mtime)
        for path in cached.installed()
    ]
    if as_json:
        keys = ("name", "path", "size", "created")
        echo_json([dict(zip(keys, (*each, time_text(at)), strict=True)) for *each, at in kernels])
        return
    rows = [
        (name, f"{size / 1e6:.1f} MB", shown_time(at, full=full)) for name, _, size, at in kernels
    ]
    echo_table([("NAME", "SIZE", "CREATED"), *rows], full=full)


@kernel.command()
@parameters.names("kernel")
def rm(names: tuple[str, ...]) -> None:
    """Remove kernels from the cache.

    Images keep their copy of a removed kernel. If a NAME cannot be removed, the others are removed
    nevertheless, and the exit status is 125.
    """
    list(for_each(names, cached.remove))
