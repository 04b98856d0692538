"""`microvm image`: build, list, inspect, tag, remove, pull, export and import images."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

import click

from microvm.cache import record
from microvm.cli import parameters, signals, template_maker
from microvm.cli.failures import for_each
from microvm.cli.group import VerbGroup
from microvm.cli.image_users import needs
from microvm.cli.names import check_image, existing_image
from microvm.cli.properties import (
    digest,
    echo_each,
    echo_json,
    echo_table,
    short_name,
    shown_time,
    time_text,
)
from microvm.cli.verbs.image_build import FILE, build
from microvm.errors import ImageError, TemplateError
from microvm.images import MANIFEST, Image, entries, find, load, tags
from microvm.images import export as exports
from microvm.images.deduplication import usage
from microvm.images.export import read
from microvm.options import PoolOptions
from microvm.printable import printable
from microvm.progress import on_stderr
from microvm.start import template
from microvm_image import image_removal
from microvm_image.build import build as build_image
from microvm_image.image_removal import Removed, remove
from microvm_image.recipe import Recipe

_name = click.argument("name", metavar="IMAGE", shell_complete=parameters.completer("image"))
_names = parameters.names("image", "IMAGE…")


@click.group(cls=VerbGroup)
@click.pass_context
def image(context: click.Context) -> None:
    """Build, list, tag, remove, export and import images.

    IMAGE is a tag, such as `python:3.13`, or `python` for `python:latest`; or the name of an image;
    or the beginning of its digest. All verbs except `rm` also accept the beginning of a tag or name
    if no other begins so, and the path of an image's folder if the path contains a slash.
    """
    context.with_resource(signals.exit_on_signal())


image.add_command(build)


@image.command()
@parameters.as_json
@parameters.no_trunc
@click.option("-q", "--quiet", is_flag=True, help="Print only the full names.")
def ls(as_json: bool, full: bool, quiet: bool) -> None:
    """List the images in the cache, with one line for each tag.

    BASE is the image or distribution that an image was built from. SIZE is the size of the image on
    the disk. With --no-trunc, BASE contains all options of the build, KERNEL is the version of the
    kernel, and SHARED is the size of the files that other images use, too.
    """
    found = list(entries())
    if quiet:
        click.echo("".join(f"{path.name}\n" for path, _ in found), nl=False)
    elif as_json:
        echo_json([_facts(path, each) for path, each in found])
    else:
        rows = sorted(row for path, each in found for row in _rows(path, each, full=full))
        sizes = ("KERNEL", "SIZE", "SHARED") if full else ("SIZE",)
        header = ("NAME", "DIGEST", "BASE", *sizes, "CREATED")
        echo_table([header, *rows], full=full)


@image.command()
@_names
@parameters.as_json
def inspect(names: tuple[str, ...], as_json: bool) -> None:
    """Show the details of images.

    They are the sources of the image, the default options for `microvm run`, and the files of the
    image with their digests.
    """

    def facts(name: str) -> dict[str, object]:
        found = load(existing_image(name))
        return _facts(found.path, found)

    echo_each(names, facts, as_json=as_json)


@image.command()
@_name
@parameters.as_json
def history(name: str, as_json: bool) -> None:
    """Show how an image was built.

    The first line is the source of the image. Then follow the build steps, and the commands that
    run before a guest is saved as a template.
    """
    made = load(existing_image(name)).manifest
    if as_json:
        echo_json({"source": made.source, "steps": made.history, "warm": made.warm})
        return
    lines = [f"from {made.source}", *made.history]
    lines += [f"warm {shlex.join(command)}" for command in made.warm]
    for line in lines:
        click.echo(printable(line))


@image.command()
@_names
@click.option(
    "-f",
    "--force",
    is_flag=True,
    help="Also remove an image that has several tags, or that a snapshot or a running pool needs.",
)
@parameters.verbose
def rm(names: tuple[str, ...], force: bool) -> None:
    """Remove tags, and images that have no other tag.

    If IMAGE is a tag, the tag is removed, and the image only if this was its last tag. If IMAGE is
    the full name or the digest of an image, the image is removed with its tag. The templates of an
    image are removed with it. An image that a snapshot or a running pool needs is not
    removed.

    Running machines, and images built from a removed image, still work. If an IMAGE cannot be
    removed, the others are removed nevertheless, and the exit status is 125.
    """
    with on_stderr() as report:

        def remove_one(name: str) -> Removed:
            return remove(check_image(name), force=force, needs=needs, report=report)

        for removed in for_each(names, remove_one):
            echo_removed(removed)


@image.command()
@click.option(
    "-a",
    "--all",
    "everything",
    is_flag=True,
    help="Also remove the default image if it has no tag.",
)
@parameters.verbose
def prune(everything: bool) -> None:
    """Remove unused images and the results of build steps.

    Unused images are images without a tag, damaged images, and images of another version of
    microvm. The following are kept: the default image of `microvm run`, images that snapshots need,
    and images that are being built. Folders and mounts that killed builds of older versions have
    left in TMPDIR are removed, too.
    """
    with on_stderr() as report:
        for removed in image_removal.prune(everything=everything, needs=needs, report=report):
            echo_removed(removed)


@image.command()
@_name
@click.argument("tag", metavar="TAG")
@parameters.verbose
def tag(name: str, tag: str) -> None:
    """Add a tag to an image in the cache.

    TAG is NAME:VERSION, or NAME for NAME:latest. If another image has this tag, the tag is moved.
    """
    with on_stderr() as report:
        tags.assign(tag, find(existing_image(name)), report)


@image.command()
@click.argument("reference")
@click.argument("tag", required=False, metavar="[TAG]")
@parameters.options(PoolOptions, "image pull")
@parameters.verbose
def pull(reference: str, tag: str | None, arch: str | None) -> None:
    """Build an image from an image in a registry.

    REFERENCE is the name of the image as docker writes it, such as `python:3.13-slim` or
    `localhost:5000/base@sha256:…`. The new image gets the tag TAG, by default the part of REFERENCE
    after the last slash. It gets no tag if REFERENCE contains a digest and TAG is not given. The
    tag is printed, or else the name of the image. `microvm image build --from
    docker://REFERENCE` does the same, and has more options.
    """
    reference = reference.removeprefix("docker://")
    if tag is None and "@" not in reference:
        tag = reference.rpartition("/")[2]
    with on_stderr() as report:
        made = build_image(
            Recipe(source=f"docker://{reference}"),
            arch=arch,
            tag=tag,
            report=report,
        )
        template_maker.try_template(made, report)
    click.echo(made.name if tag is None else tags.of_arch(tag, made.manifest.arch))


@image.command()
@_name
@parameters.option("-o --output FILE", "Write to FILE. [default: standard output]", type=FILE)
@parameters.verbose
def export(name: str, output: Path | None) -> None:
    """Write an image to a file. `microvm image import` reads the file, also on another host."""
    if output is None and sys.stdout.isatty():
        raise click.UsageError("Cannot write an image to a terminal: name a FILE with -o")
    with on_stderr() as report, _written(output) as out:
        exports.write(load(existing_image(name)), out, report)


@image.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, readable=False, allow_dash=True)
)
@click.argument("tag", required=False, metavar="[TAG]")
@parameters.option(
    "--max-size SIZE",
    "Limit the size of the image on the disk.",
    default="16G",
    show_default=True,
    callback=parameters.size,
)
@parameters.verbose
def import_(file: str, tag: str | None, max_size: int) -> None:
    """Add an image to the cache from a file.

    FILE is a file that `microvm image export` has written. The image gets the tag TAG, by default
    its tags in FILE that no other image in the cache has. The tags are printed, or else the name of
    the image.

    The content is compared with the digests in FILE, so a damaged file is refused. The digests do
    not show who made the file: import only files that you trust.
    """
    with on_stderr() as report, click.open_file(file, "rb") as source:
        image, added = read(
            cast(BinaryIO, source),
            "standard input" if file == "-" else file,
            tag=tag,
            limit=max_size,
            report=report,
        )
    click.echo("\n".join(added or [image.name]))


@contextmanager
def _written(output: Path | None) -> Iterator[BinaryIO]:
    """Context manager that yields a file to write `output` to; for None, yield standard output.

    The yielded file is temporary. At the end of the block, it replaces the file `output`.
    """
    if output is None:
        yield sys.stdout.buffer
        return
    partial = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        with partial.open("xb") as out:
            yield out
        partial.replace(output)
    except OSError as error:
        raise ImageError(f"cannot write {output}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


def echo_removed(removed: Removed) -> None:
    """Print the removed tags and the removed image, and remove the templates of that image."""
    for tag in removed.tags:
        click.echo(f"Untagged: {tag}")
    if not removed.image:
        return
    click.echo(f"Deleted: {removed.image}")
    for each in template.STORE.installed():
        if each.manifest and each.manifest.origin.image == removed.image:
            with suppress(TemplateError):  # keep a template that another process uses
                template.STORE.remove(each.name)


def _facts(path: Path, image: Image | ImageError) -> dict[str, object]:
    used = usage(path)
    facts: dict[str, object] = {
        "name": path.name,
        "tags": tags.of(path.name),
        "path": str(path),
        "created": time_text(_created(path)),
        "size": used.size,
        "shared": used.shared,
    }
    if isinstance(image, ImageError):
        return {**facts, "error": str(image)}
    return {
        **facts,
        "name": image.name,
        "digest": image.digest,
        "imported": image.is_imported,
        "error": None,
        **record.members(image.manifest),
    }


def _rows(path: Path, image: Image | ImageError, *, full: bool) -> Iterator[tuple[str, ...]]:
    """Yield a row for each tag of an image, or one with its name.

    :param full: True for full texts, and for the columns KERNEL and SHARED.
    """
    if isinstance(image, ImageError):
        base, kernel = ("damaged" if "damaged" in image.message else "outdated", "-")
    else:
        base, kernel = (image.manifest.base, image.manifest.kernel_version)
    used, ending = usage(path), digest(path.name)
    size, shared = (f"{each / 1e6:.1f} MB" for each in (used.size, used.shared))
    created = shown_time(_created(path), full=full)
    last: tuple[str, ...] = (ending, short_name(base.partition(" --package ")[0]), size, created)
    if full:
        last = (ending, base, kernel, size, shared, created)
    name = path.name if full else short_name(path.name)
    return ((each, *last) for each in tags.of(path.name) or [name])


def _created(path: Path) -> float:
    # Show the modification time of the manifest as the time at which the image was created. The
    # modification time of the folder does not fit, because it changes when another image starts to
    # share the folder's files.
    manifest = path / MANIFEST
    return (manifest if manifest.is_file() else path).stat().st_mtime
