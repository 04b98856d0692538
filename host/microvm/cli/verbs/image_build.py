"""`microvm image build`: build an image from sources and steps that the user names."""

from __future__ import annotations

import math
import shlex
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import click

from microvm import arches
from microvm.cli import parameters, template_maker
from microvm.cli.machine_file import read
from microvm.images import tags
from microvm.options import MachineOptions
from microvm.progress import on_stderr
from microvm.qemu import launcher
from microvm.qemu.launch import find_qemu
from microvm.units import parse_duration, parse_size
from microvm_image.build import build as build_image
from microvm_image.limits import Limits
from microvm_image.pip import requirements
from microvm_image.recipe import AddStep, Recipe, RunStep, Step, shell
from microvm_image.step_runner import StepRunner

FILE = click.Path(path_type=Path)

_STEPS = ("add", "run")
_RECIPE = (
    "source",
    "package",
    "pip",
    "requirement",
    *_STEPS,
    "warm",
    "env",
    "workdir",
    "user",
    "entrypoint",
    "cmd",
)


class _Build(click.Command):
    """The click command of `microvm image build`, which keeps the order of `--add` and `--run`.

    The options `--add` and `--run` are steps of the build, which run in the order in which the user
    has typed them. This class stores them in that order in the parameter `steps`.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(list(args))
        rest = super().parse_args(ctx, args)
        texts = {name: iter(ctx.params[name]) for name in _STEPS}
        names = (parameter.name for parameter in given)
        ctx.params["steps"] = [(name, next(texts[name])) for name in names if name in texts]
        return rest


@click.command(cls=_Build)
@parameters.option(
    "-f --file FILE",
    "Read the options from --from to --cmd from this TOML file instead.",
    type=FILE,
)
@parameters.option(
    "--allow PATH",
    "Allow the file of -f to use this file or folder outside of its own folder; repeatable.",
    multiple=True,
    type=FILE,
)
@parameters.option("--from source SOURCE", "Build the image from this source. [default: alpine]")
@parameters.option(
    "--package NAME", "Install this package of the distribution; repeatable.", multiple=True
)
@parameters.option(
    "--pip NAME",
    "Install this Python package, such as numpy or 'numpy>=2', from the index of pip on this host; "
    "repeatable.",
    multiple=True,
)
@parameters.option(
    "-r --requirement FILE",
    "Install the Python packages that this file lists, as pip's option -r does; repeatable.",
    multiple=True,
    type=FILE,
)
@parameters.option(
    "--add SRC:DST",
    "Copy a file or folder into the image; repeatable. --add and --run are executed in the "
    "given order.",
    multiple=True,
)
@parameters.option(
    "--run CMD",
    "Run CMD with `sh -c` in a machine with the image as built so far, and keep the changes; "
    "repeatable.",
    multiple=True,
)
@parameters.option(
    "--warm CMD",
    "Run CMD with `sh -c` in the booted guest before it is saved as a template, so that "
    "later starts are faster; repeatable.",
    multiple=True,
)
@parameters.option(
    "-e --env KEY=VALUE", "Set an environment variable for all commands; repeatable.", multiple=True
)
@parameters.option("-w --workdir DIR", "Run commands in this directory by default.")
@parameters.option("-u --user NAME|UID[:GROUP]", "Run commands as this user by default.")
@parameters.option(
    "--entrypoint WORDS", "Let `microvm run` start this program, with its CMD as the arguments."
)
@parameters.option("--cmd WORDS", "Let `microvm run` run this command if it is given no CMD.")
@parameters.option(
    "--rootfs PATH",
    "Use this archive of Alpine's minirootfs, or the folder that contains it, instead of "
    "downloading it.",
    type=FILE,
)
@parameters.option(
    "--kernel FILE|small|debian",
    "Use this kernel. [default: small, if a guest pack or `microvm kernel build` provides it, "
    "else debian]",
)
@parameters.option("--mirror URL", "Download Alpine from this mirror.")
@parameters.option(
    "-o --output DIR", "Write the image to this folder instead of the cache.", type=FILE
)
@parameters.option(
    "--limit limits NAME=N",
    "Change a limit on sources, such as their size; repeatable. The error for an exceeded "
    "limit names the limit.",
    multiple=True,
)
@parameters.options(MachineOptions, "image build")
@parameters.verbose
@click.argument("name", required=False, metavar="[NAME[:TAG]]")
def build(
    name: str | None,
    file: Path | None,
    allow: tuple[Path, ...],
    rootfs: Path | None,
    kernel: str | None,
    mirror: str | None,
    output: Path | None,
    limits: tuple[str, ...],
    **options: Any,
) -> None:
    """Build an image, tag it, and print its path.

    Without options, the default image of `microvm run` is built. An image with the same sources and
    options is built only once.

    \b
    SOURCE is one of
      FILE or DIR        a root file system, as a tar archive or a folder; an OCI layout;
                         or an archive of `docker save` or `podman save`; - is
                         standard input
      docker://NAME:TAG  an image in a registry
      debian:RELEASE     Debian, with each --package
      alpine             Alpine's minirootfs, the default
      NAME               an image in the cache, or a ready-made one: python, node, agent

    CMD is a shell command. WORDS are split into arguments as a shell does. docs/images.md describes
    the TOML file of -f. --memory, --cpus and --disk apply to the machines of --run and --pip.

    The variables MICROVM_ROOTFS, MICROVM_KERNEL and MICROVM_MIRROR are the defaults of --rootfs,
    --kernel and --mirror.
    """  # noqa: D301 - `\b` tells click to keep the lines
    if name and output:
        raise click.UsageError(
            "NAME is a tag in the cache, but --output writes elsewhere: leave out one of them"
        )
    if name in ("Containerfile", "Dockerfile", ".") and file is None:
        raise click.UsageError(
            f"NAME is the tag of the new image, not a file or folder: {name}. `-f FILE` reads a "
            "machine file in TOML; docs/images.md shows how to use a Containerfile"
        )
    recipe = _recipe(file, allow, options)
    if name:
        tags.parse(name)
    bounds = _limits(limits)
    arch = options["arch"]
    if recipe.pip or any(isinstance(step, RunStep) for step in recipe.steps):
        find_qemu(arches.find(arch).name)
    with on_stderr() as report:
        machine = parameters.given_options(MachineOptions, {**options, "notify": report.notice})
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
        # Also compile the launcher, the program that confines QEMU, so that the first start of a
        # machine need not compile it.
        if not launcher.is_ready():
            launcher.find()
        if made.is_in_cache:
            template_maker.try_template(made, report)
    click.echo(made.path)


def _recipe(file: Path | None, allow: tuple[Path, ...], options: dict[str, Any]) -> Recipe:
    if options["source"] == "":
        raise click.BadParameter("the source is empty", param_hint="--from")
    if file is not None:
        if also := [name for name in _RECIPE if options[name]]:
            option = "from" if also[0] == "source" else also[0]
            raise click.UsageError(f"-f excludes --{option}: set `{option}` in the file instead")

        return read(file, allow)
    if allow:
        raise click.UsageError("--allow applies to the paths in the file of -f: add -f")
    return Recipe(
        source=options["source"] or "",
        packages=options["package"],
        pip=(*options["pip"], *chain.from_iterable(map(requirements.read, options["requirement"]))),
        steps=tuple(_step(name, text) for name, text in options["steps"]),
        warm=tuple(map(shell, options["warm"])),
        env=options["env"],
        workdir=options["workdir"],
        user=options["user"],
        entrypoint=_words("entrypoint", options),
        cmd=_words("cmd", options),
    )


def _limits(entries: tuple[str, ...]) -> Limits:
    names = [field.name for field in fields(Limits)]
    given = {}
    for entry in entries:
        name, _, text = entry.partition("=")
        if name not in names:
            message = f"{name!r} is not one of {', '.join(names)}"
            raise click.BadParameter(message, param_hint="--limit")
        given[name] = math.ceil(parse_duration(text)) if name == "seconds" else parse_size(text)
    return Limits(**given)


def _step(name: str, text: str) -> Step:
    return AddStep.parse(text) if name == "add" else RunStep(shell(text))


def _words(name: str, options: dict[str, Any]) -> tuple[str, ...] | None:
    if options[name] is None:
        return None
    try:
        return tuple(shlex.split(options[name]))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"--{name}") from None
