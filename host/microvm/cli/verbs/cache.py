"""`microvm cache`: list the contents of the cache, and remove unused items."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import click

from microvm import cache as caches
from microvm.cache import contents, lock, readers
from microvm.cache.contents import CacheUsage
from microvm.cli import parameters, signals
from microvm.cli.group import VerbGroup
from microvm.cli.image_users import needs
from microvm.cli.properties import echo_json, echo_table, shown_time, time_text
from microvm.cli.verbs.image import echo_removed
from microvm.progress import Reporter, on_stderr
from microvm.qemu import launcher
from microvm.qemu.accel import PROBE_LIFETIME
from microvm.start import template
from microvm_image import downloads, image_removal, programs
from microvm_image.kernel import cached


@click.group(cls=VerbGroup)
@click.pass_context
def cache(context: click.Context) -> None:
    """Show and clear the cache.

    The cache contains images, templates, snapshots, and the files that they are built from. The
    variable MICROVM_CACHE changes its folder.
    """
    context.with_resource(signals.exit_on_signal())


@cache.command()
def path() -> None:
    """Print the path of the cache. The first start of a machine creates it."""
    click.echo(caches.root())


@cache.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with sizes in bytes.")
@parameters.no_trunc
def ls(as_json: bool, full: bool) -> None:
    """List the kinds of items in the cache.

    SIZE is the size of all items of a kind on the disk. USED is the time when an item of the kind
    was last used. Downloads are packages and archives for images. Layers are the results of build
    steps. Programs are helpers of microvm that are compiled once. Records are small files, such
    as tags and results of checks. Unfinished items are being created, or a killed process has left
    them.
    """
    found = contents.usage()
    if as_json:
        echo_json([_facts(each) for each in found])
        return
    items, size = sum(each.items for each in found), sum(each.size for each in found)
    rows = [_row(each, full=full) for each in found if each.items]
    total = ("total", str(items), _size(size), "")
    echo_table([("KIND", "ITEMS", "SIZE", "USED"), *rows, total], full=full)


@cache.command()
@click.option(
    "-a",
    "--all",
    "everything",
    is_flag=True,
    help="Also remove templates, and the default image if it has no tag.",
)
@parameters.verbose
def prune(everything: bool) -> None:
    """Remove items that have no name and are not used.

    The command removes images without a tag, damaged images, the results of build steps, downloads,
    templates above the size limit, kernels that a newer kernel replaces, programs that this version
    of microvm does not use, and files that killed processes have left. Items that are needed again
    are built or downloaded again.

    Images with a tag and snapshots are kept; use `microvm image rm` and `microvm snapshot rm` to
    remove them. Items in use are kept, too: images that a snapshot or a running pool needs, items
    that are being created, and all downloads and programs while an image or a kernel is being
    built. Running machines continue.
    """
    before = sum(each.size for each in contents.usage())
    with on_stderr() as report:
        for image in image_removal.prune(everything=everything, needs=needs, report=report):
            echo_removed(image)
        limit = 0 if everything else template.limit()
        for removed in (
            *(f"template {each.name}" for each in template.prune(limit)),
            *_downloads(report, everything=everything),
            *_kernels(),
            *_programs(),
            *_records(),
        ):
            click.echo(f"Deleted: {removed}")
    after = sum(each.size for each in contents.usage())
    click.echo(f"Freed: {_size(max(0, before - after))}")


def _downloads(report: Reporter, *, everything: bool) -> Iterator[str]:
    removed = downloads.prune(everything=everything)
    if removed is None:
        report.notice("all downloads are kept, because an image or a kernel is being built")
    for each in removed or ():
        yield f"download {each.name}"


def _kernels() -> Iterator[str]:
    for each in cached.superseded():
        cached.remove(each.name)
        yield f"kernel {each.name}"


def _programs() -> Iterator[str]:
    """Remove the compiled programs of other versions of microvm, and yield their names.

    While an image is being built, keep all programs.
    """
    if not (old := [*launcher.superseded(), *programs.superseded()]):
        return
    with lock.attempt(downloads.folder()) as no_build:
        for each in old if no_build else ():
            with lock.attempt(each) as ours:
                if ours:
                    _remove(each)
                    yield f"program {each.name}"


def _records() -> Iterator[str]:
    """Remove expired records, such as results of checks of this host, and yield their names."""
    for prefix in readers.RECORDS:
        for each in sorted(caches.root().glob(f"{prefix}*")):
            if contents.last_use(each) < time.time() - PROBE_LIFETIME:
                _remove(each)
                yield f"record {each.name}"


def _remove(path: Path) -> None:
    with caches.disk_errors(path):
        caches.clear(path)


def _facts(each: CacheUsage) -> dict[str, object]:
    return {**each._asdict(), "used": time_text(each.used) if each.items else None}


def _row(each: CacheUsage, *, full: bool) -> tuple[str, ...]:
    return each.kind, str(each.items), _size(each.size), shown_time(each.used, full=full)


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
