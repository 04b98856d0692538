"""`microvm image build`: an image, made of what its user names."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from microvm.arches import ARCHES
from microvm.cli import shared
from microvm.options import MachineOptions

if TYPE_CHECKING:
    from microvm.progress import Reporter
    from microvm_image.limits import Limits
    from microvm_image.recipe import Recipe, Step

FILE = click.Path(path_type=Path)

_STEPS = ("add", "run")
_RECIPE = ("source", "package", *_STEPS, "warm", "env", "workdir", "user", "entrypoint", "cmd")


class _Build(click.Command):
    """A command whose `--add` and `--run` are in one order, that in which they are given."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        rest = super().parse_args(ctx, args)
        texts = {name: iter(ctx.params[name]) for name in _STEPS}
        names = (parameter.name for parameter in given)
        ctx.params["steps"] = [(name, next(texts[name])) for name in names if name in texts]
        return rest


@click.command(cls=_Build)
@click.option("-f", "--file", type=FILE, metavar="FILE", help="Take all of these from a file:")
@click.option(
    "--allow",
    multiple=True,
    type=FILE,
    metavar="PATH",
    help="Let the file of -f use this file or folder from outside its own folder; repeatable.",
)
@click.option(
    "--from", "source", metavar="SOURCE", help="What it is made from. [default: Alpine's base]"
)
@click.option("--package", multiple=True, metavar="NAME", help="Of a distribution; repeatable.")
@click.option(
    "--add",
    multiple=True,
    metavar="SRC:DST",
    help="Put a file or folder there; in one order with --run.",
)
@click.option(
    "--run",
    multiple=True,
    metavar="CMD",
    help="Run it by `sh -c` in a machine of the image so far, and keep what it changes.",
)
@click.option(
    "--warm",
    multiple=True,
    metavar="CMD",
    help="Run it by `sh -c` before a guest is saved for later starts.",
)
@click.option("--env", multiple=True, metavar="KEY=VALUE", help="A variable of all commands.")
@click.option("--workdir", metavar="DIR", help="The working directory of commands.")
@click.option("--user", metavar="NAME|UID[:GROUP]", help="Whom they run as.")
@click.option("--entrypoint", metavar="WORDS", help="What `microvm run` puts before its command.")
@click.option("--cmd", metavar="WORDS", help="What `microvm run` runs where it is given nothing.")
@click.option("--rootfs", type=FILE, metavar="PATH", help="Alpine archive, or its folder.")
@click.option(
    "--kernel",
    metavar="FILE|small|debian",
    help="Default: small, if a guest pack or `microvm kernel build` made it, else Debian's.",
)
@click.option("--mirror", metavar="URL", help="Where to download Alpine from.")
@click.option("--arch", type=click.Choice([*ARCHES]), help="Default: this machine's.")
@click.option("-o", "--output", type=FILE, metavar="DIR", help="Make the image here.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="NAME=N",
    help="Raise a limit on what a source may be; an error names it.",
)
@shared.options(MachineOptions, "image build")
@shared.quiet
@click.argument("name", required=False, metavar="[NAME[:TAG]]")
def build(
    name: str | None,
    file: Path | None,
    allow: tuple[Path, ...],
    rootfs: Path | None,
    kernel: str | None,
    mirror: str | None,
    arch: str | None,
    output: Path | None,
    limits: tuple[str, ...],
    **options: Any,
) -> None:
    """Build an image, tag it, and print its path.

    Without options it is the default image, which `microvm run` builds too if there is none. The
    same sources and options give the same image, which is not built again.

    \b
    SOURCE is one of
      FILE or DIR        a root file system as tar, or a folder; an OCI layout; what
                         `docker save` or `podman save` writes; - is standard input
      docker://NAME:TAG  an image in a registry
      debian:RELEASE     Debian, with each --package
      alpine             Alpine's minirootfs, which is the default
      NAME               another image of ours

    CMD is text for a shell; WORDS are split as a shell splits them. A file has the same in TOML:
    docs/images.md has the form. --memory, --cpus and --disk are those of the machines of --run.

    MICROVM_ROOTFS, MICROVM_KERNEL and MICROVM_MIRROR stand in for the options of those names.
    """  # noqa: D301 - click wants the backspace itself
    from microvm import arches
    from microvm.machine.step import StepRunner
    from microvm.progress import on_stderr
    from microvm.qemu import launcher
    from microvm.qemu.launch import find_qemu
    from microvm_image import checks, tags
    from microvm_image.build import build as build_image
    from microvm_image.recipe import Run

    if name and output:
        raise click.UsageError("NAME is of an image in the cache, and --output makes it elsewhere")
    recipe = _recipe(file, allow, options)
    if name:
        tags.parse(name)
    bounds = _limits(limits)
    target = arches.find(arch)
    checks.check(recipe, target, kernel)
    if any(isinstance(step, Run) for step in recipe.steps):
        find_qemu(target.name)
    with on_stderr() as report:
        if not launcher.is_ready():  # so that a cache that is filled beforehand has all
            launcher.find()
        _have_ready_made(recipe, arch, report)
        machine = shared.given(MachineOptions, {**options, "notify": report.notice})
        made = build_image(
            recipe,
            arch=arch,
            rootfs=rootfs,
            kernel=kernel,
            mirror=mirror,
            output=output,
            tag=name,
            limits=bounds,
            run=StepRunner(limit=bounds.unpacked, **machine),
            report=report,
        )
    click.echo(made.path)


def _recipe(file: Path | None, allow: tuple[Path, ...], options: dict[str, Any]) -> Recipe:
    from microvm_image.recipe import Recipe, shell

    if options["source"] == "":
        raise click.BadParameter("it names nothing", param_hint="--from")
    if file is not None:
        if also := [name for name in _RECIPE if options[name]]:
            option = "from" if also[0] == "source" else also[0]
            raise click.UsageError(f"--{option} is for the file to say: it is `{option}` there")
        from microvm.cli.machine_file import read

        return read(file, allow)
    if allow:
        raise click.UsageError("--allow needs -f, because it allows paths in a machine file")
    return Recipe(
        source=options["source"] or "",
        packages=options["package"],
        steps=tuple(_step(name, text) for name, text in options["steps"]),
        warm=tuple(map(shell, options["warm"])),
        env=options["env"],
        workdir=options["workdir"],
        user=options["user"],
        entrypoint=_words("entrypoint", options),
        cmd=_words("cmd", options),
    )


def _have_ready_made(recipe: Recipe, arch: str | None, report: Reporter) -> None:
    """Build the ready-made image that is the recipe's source, if nobody has asked for it yet."""
    from microvm import arches
    from microvm_image import readymade

    is_ours = arches.find(arch) == arches.find()
    is_path = recipe.path(recipe.source).exists()
    if is_ours and not is_path and not recipe.packages and readymade.is_missing(recipe.source):
        readymade.find(recipe.source, report)


def _limits(entries: tuple[str, ...]) -> Limits:
    from dataclasses import fields

    from microvm.units import parse_duration, parse_size
    from microvm_image.limits import Limits

    names = [field.name for field in fields(Limits)]
    given = {}
    for entry in entries:
        name, _, text = entry.partition("=")
        if name not in names:
            message = f"{name!r} is none of {', '.join(names)}"
            raise click.BadParameter(message, param_hint="--limit")
        given[name] = math.ceil(parse_duration(text)) if name == "seconds" else parse_size(text)
    return Limits(**given)


def _step(name: str, text: str) -> Step:
    from microvm_image.recipe import Add, Run, shell

    return Add.parse(text) if name == "add" else Run(shell(text))


def _words(name: str, options: dict[str, Any]) -> tuple[str, ...] | None:
    if options[name] is None:
        return None
    try:
        return tuple(shlex.split(options[name]))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--{name}") from None
