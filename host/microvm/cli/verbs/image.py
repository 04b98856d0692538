"""`microvm image`: build images, and keep house with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import click

from microvm.cli import shared, signals
from microvm.cli.facts import echo_each, echo_json, time_text
from microvm.cli.group import Group
from microvm.cli.series import for_each
from microvm.cli.verbs.image_build import FILE, build
from microvm.errors import ImageError
from microvm.option import Option
from microvm.printable import printable
from microvm.units import parse_size

if TYPE_CHECKING:
    from microvm_image import Image
    from microvm_image.removal import Removed

_as_json = click.option("--json", "as_json", is_flag=True, help="As JSON, with all that is known.")
_complete = shared.completes("image")
_name = click.argument("name", metavar="IMAGE", shell_complete=_complete)
_names = click.argument(
    "names", nargs=-1, required=True, metavar="IMAGE…", shell_complete=_complete
)
_size = shared.read(Option("", parse_size, metavar="SIZE"))


@click.group(cls=Group)
@click.pass_context
def image(context: click.Context) -> None:
    """Build, list, tag, remove, export and import images.

    IMAGE is a tag, such as `python:3.13`, or `python`, which is `python:latest`; the name of an
    image; or the beginning of its digest. Where an image is not removed, it is also the beginning
    of a tag or a name, if that begins no other; or a folder that has a slash in its path.
    """
    context.with_resource(signals.raised())


image.add_command(build)


@image.command()
@_as_json
@click.option("-q", "--quiet", is_flag=True, help="Print their full names alone.")
def ls(as_json: bool, quiet: bool) -> None:
    """List the images in the cache, a line for each tag.

    SIZE is what an image takes on the disk, SHARED the part of it that other images have, too.
    """
    from microvm.cli.table import echo
    from microvm_image.image import entries

    found = list(entries())
    if quiet:
        click.echo("".join(f"{path.name}\n" for path, _ in found), nl=False)
    elif as_json:
        echo_json([_facts(path, each) for path, each in found])
    else:
        rows = [row for path, each in found for row in _rows(path, each)]
        echo([("NAME", "DIGEST", "BASE", "KERNEL", "SIZE", "SHARED", "CREATED"), *sorted(rows)])


@image.command()
@_names
@_as_json
def inspect(names: tuple[str, ...], as_json: bool) -> None:
    """Show all that is known of images.

    That is what went in, the defaults of a run, files and their digests.
    """
    from microvm.cli.names import meant_image
    from microvm_image.image import load

    def facts(name: str) -> dict[str, object]:
        found = load(meant_image(name))
        return _facts(found.path, found)

    echo_each(names, facts, as_json=as_json)


@image.command()
@_name
@_as_json
def history(name: str, as_json: bool) -> None:
    """Show how an image was made.

    Its source, the steps on top of it, and what runs before a guest is saved: a line each.
    """
    import shlex

    from microvm.cli.names import meant_image
    from microvm_image.image import load

    made = load(meant_image(name)).manifest
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
    help="Also an image with several tags, or one that snapshots need.",
)
@shared.quiet
def rm(names: tuple[str, ...], force: bool) -> None:
    """Remove tags, and images with their last one.

    The saved guests of an image go with it. An image that is named in full, or by its digest, is
    removed with its tag. An image that a snapshot needs is not removed. Machines that run are not
    disturbed, nor are images that were made from it. If an IMAGE cannot be removed, the others are
    removed all the same, and the exit status is 125.
    """
    from microvm.cli.names import whole_image
    from microvm.progress import on_stderr
    from microvm.start.snapshots import needs
    from microvm_image.removal import remove

    with on_stderr() as report:

        def remove_one(name: str) -> Removed:
            return remove(whole_image(name), force=force, needs=needs, report=report)

        for removed in for_each(names, remove_one):
            echo_removed(removed)


@image.command()
@click.option(
    "-a", "--all", "everything", is_flag=True, help="Also the default image, if it has no tag."
)
@shared.quiet
def prune(everything: bool) -> None:
    """Remove what nobody has a use for.

    That is images without a tag, damaged ones, those of another version of microvm, and what steps
    of builds have changed. The image of `microvm run` without --image stays, those that snapshots
    need, and what a process is just building. Also removed are folders and mounts in TMPDIR that
    killed builds of older versions have left there.
    """
    from microvm.progress import on_stderr
    from microvm.start.snapshots import needs
    from microvm_image import removal

    with on_stderr() as report:
        for removed in removal.prune(everything=everything, needs=needs, report=report):
            echo_removed(removed)


@image.command()
@_name
@click.argument("tag", metavar="TAG")
@shared.quiet
def tag(name: str, tag: str) -> None:
    """Give an image of the cache a tag.

    TAG is NAME:VERSION, or NAME, which is NAME:latest. An image that has had this tag has it no
    more.
    """
    from microvm.cli.names import meant_image
    from microvm.progress import on_stderr
    from microvm_image import tags
    from microvm_image.image import find

    with on_stderr() as report:
        tags.assign(tag, find(meant_image(name)), report)


@image.command()
@click.argument("reference")
@click.argument("tag", required=False, metavar="[TAG]")
@shared.quiet
def pull(reference: str, tag: str | None) -> None:
    """Build an image from one in a registry.

    Its tag is printed, or else its name.

    REFERENCE is what docker takes, such as `python:3.13-slim` or `localhost:5000/base@sha256:…`.
    The tag is the last part of it, unless it is a digest, or TAG. `microvm image build` does the
    same with more of a choice.
    """
    from microvm.progress import on_stderr
    from microvm_image import tags
    from microvm_image.build import build as build_image
    from microvm_image.recipe import Recipe

    reference = reference.removeprefix("docker://")
    if tag is None and "@" not in reference:
        tag = reference.rpartition("/")[2]
    with on_stderr() as report:
        made = build_image(
            Recipe(source=f"docker://{reference}"),
            tag=None if tag is None else tags.parse(tag),
            report=report,
        )
    click.echo(made.name if tag is None else tags.parse(tag))


@image.command()
@_name
@click.option("-o", "--output", type=FILE, metavar="FILE", help="[default: standard output]")
@shared.quiet
def export(name: str, output: Path | None) -> None:
    """Write an image as one file.

    `microvm image import` takes it on another machine.
    """
    from microvm.cli.names import meant_image
    from microvm.progress import on_stderr
    from microvm_image import export as exports
    from microvm_image.image import load

    if output is None and sys.stdout.isatty():
        raise click.UsageError("An image is nothing for a terminal: name a FILE with -o")
    with on_stderr() as report, _written(output) as out:
        exports.write(load(meant_image(name)), out, report)


@image.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, readable=False, allow_dash=True)
)
@click.argument("tag", required=False, metavar="[TAG]")
@click.option(
    "--max-size",
    default="16G",
    show_default=True,
    metavar="SIZE",
    callback=_size,
    help="The most that the image may take on the disk.",
)
@shared.quiet
def import_(file: str, tag: str | None, max_size: int) -> None:
    """Take over an image from a file.

    `microvm image export` wrote it. Its tags are printed, or else its name.

    It gets those of its tags that no other image has, or TAG instead. What is in FILE is compared
    with the digests in it, so that nothing damaged is taken; whom it is from is for you to know.
    """
    from microvm.progress import on_stderr
    from microvm_image.export import read

    with on_stderr() as report, click.open_file(file, "rb") as source:
        image, tags = read(
            cast(BinaryIO, source),
            "standard input" if file == "-" else file,
            tag=tag,
            limit=max_size,
            report=report,
        )
    click.echo("\n".join(tags or [image.name]))


@contextmanager
def _written(output: Path | None) -> Iterator[BinaryIO]:
    """Yield a file to write, which is there only when it is whole; without a name, stdout."""
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
    """Say what was removed, and remove the guests that were saved of it."""
    from microvm.errors import TemplateError
    from microvm.start import template

    for tag in removed.tags:
        click.echo(f"Untagged: {tag}")
    if not removed.image:
        return
    click.echo(f"Deleted: {removed.image}")
    for each in template.STORE.installed():
        if each.manifest and each.manifest.origin.image == removed.image:
            with suppress(TemplateError):  # another process makes it, or has removed it
                template.STORE.remove(each.name)


def _facts(path: Path, image: Image | ImageError) -> dict[str, object]:
    from microvm.cache import record
    from microvm_image import tags
    from microvm_image.sharing import usage

    used = usage(path)
    facts: dict[str, object] = {
        "name": path.name,
        "tags": tags.of(path.name),
        "path": str(path),
        "created": _created(path),
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


def _rows(path: Path, image: Image | ImageError) -> Iterator[tuple[str, ...]]:
    from microvm_image import tags
    from microvm_image.sharing import usage

    if isinstance(image, ImageError):
        made = ("damaged" if "damaged" in image.message else "outdated", "-")
    else:
        made = (image.manifest.base, image.manifest.kernel_version)
    used = usage(path)
    sizes = (f"{size / 1e6:.1f} MB" for size in (used.size, used.shared))
    last = (path.name.rpartition("-")[2], *made, *sizes, _created(path))
    return ((name, *last) for name in tags.of(path.name) or [path.name])


def _created(path: Path) -> str:
    from microvm_image.image import MANIFEST

    manifest = path / MANIFEST  # the folder changes when another image comes to share its files
    return time_text((manifest if manifest.is_file() else path).stat().st_mtime)
