"""`microvm cache`: what lies in the cache, and how to get rid of what nobody needs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from microvm.cli import shared, signals
from microvm.cli.facts import echo_json, time_text
from microvm.cli.group import Group

if TYPE_CHECKING:
    from microvm.cache.contents import Usage
    from microvm.progress import Reporter


@click.group(cls=Group)
@click.pass_context
def cache(context: click.Context) -> None:
    """Show and clear the cache.

    It holds images, saved guests, and the files that they are made of. MICROVM_CACHE names another
    folder for it.
    """
    context.with_resource(signals.raised())


@cache.command()
def path() -> None:
    """Print the path of the cache, which the first start makes."""
    from microvm import cache as caches

    click.echo(caches.root())


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, with sizes in bytes.")
def ls(as_json: bool) -> None:
    """List the kinds of items in the cache.

    SIZE is the room that they take on the disk, USED the last use of any of a kind. Downloads are
    packages and archives of images; layers are results of the steps of a build; programs are
    compiled once; records are small notes; unfinished items are being made, or a process that was
    killed has left them.
    """
    from microvm.cache import contents
    from microvm.cli.table import echo

    found = contents.usage()
    if as_json:
        echo_json([_facts(each) for each in found])
        return
    items, size = sum(each.items for each in found), sum(each.size for each in found)
    rows = [_row(each) for each in found if each.items]
    echo([("KIND", "ITEMS", "SIZE", "USED"), *rows, ("total", str(items), _size(size), "")])


@cache.command()
@click.option(
    "-a",
    "--all",
    "everything",
    is_flag=True,
    help="Also saved guests, and the default image if it has no tag.",
)
@shared.quiet
def prune(everything: bool) -> None:
    """Remove what nobody has named, and nothing uses.

    What is wanted again is made or fetched again. Removed are images without a tag, damaged images,
    the results of build steps, downloads, surplus saved guests, kernels that a newer one has
    replaced, and what killed processes have left.

    Images with a tag and snapshots stay: `microvm image rm` and `microvm snapshot rm` remove them.
    What is in use stays, too: images that a snapshot needs, what is just being made, and all
    downloads while an image or a kernel is built. Machines that run are not disturbed.
    """
    from microvm.cache import contents
    from microvm.progress import on_stderr

    before = sum(each.size for each in contents.usage())
    with on_stderr() as report:
        _prune_images(report, everything=everything)
        for removed in (
            *_templates(everything=everything),
            *_downloads(report, everything=everything),
            *_kernels(),
            *_records(),
        ):
            click.echo(f"Deleted: {removed}")
    after = sum(each.size for each in contents.usage())
    click.echo(f"Freed: {_size(max(0, before - after))}")


def _prune_images(report: Reporter, *, everything: bool) -> None:
    from microvm.cli.verbs.image import echo_removed
    from microvm.start.snapshots import needs
    from microvm_image import removal

    for removed in removal.prune(everything=everything, needs=needs, report=report):
        echo_removed(removed)


def _templates(*, everything: bool) -> Iterator[str]:
    from microvm.start import template

    for each in template.prune(0 if everything else template.limit()):
        yield f"template {each.name}"


def _downloads(report: Reporter, *, everything: bool) -> Iterator[str]:
    from microvm_image import downloads

    removed = downloads.prune(everything=everything)
    if removed is None:
        report.notice("all downloads stay, as an image or a kernel is being built")
    for each in removed or ():
        yield f"download {each.name}"


def _kernels() -> Iterator[str]:
    from microvm_image.kernel import compiled

    for each in compiled.superseded():
        compiled.remove(each.name)
        yield f"kernel {each.name}"


def _records() -> Iterator[str]:
    """Remove the results of probes that count no more."""
    from microvm import cache as caches
    from microvm.cache import contents
    from microvm.qemu.accel import PROBE_LIFETIME

    for prefix in contents.RECORDS:
        for each in sorted(caches.root().glob(f"{prefix}*")):
            if contents.last_use(each) < time.time() - PROBE_LIFETIME:
                _remove(each)
                yield f"record {each.name}"


def _remove(path: Path) -> None:
    from microvm import cache as caches

    with caches.disk_errors(path):
        caches.clear(path)


def _facts(each: Usage) -> dict[str, object]:
    return {**each._asdict(), "used": time_text(each.used) if each.items else None}


def _row(each: Usage) -> tuple[str, ...]:
    return each.kind, str(each.items), _size(each.size), time_text(each.used)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
