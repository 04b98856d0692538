"""`microvm cp`: files into a machine that has a name, and out of it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from io import BufferedWriter
from typing import TYPE_CHECKING, Any

import click

from microvm.cli import copies, habits, shared, standard
from microvm.option import Option
from microvm.options import counted
from microvm.printable import quoted
from microvm.supervisor.runtime import is_name
from microvm.units import parse_size

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from microvm.supervisor.client.attached import AttachedVM

_ARCHIVE = "-"


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a copy: a path here, or in the machine of that name."""

    path: str
    machine: str = ""


def _parse(context: click.Context, parameter: click.Parameter, text: str) -> _End:
    del context, parameter
    name, colon, path = text.partition(":")
    if colon and is_name(name):
        if not path:
            raise click.BadParameter(f"{quoted(text)} names no file in the machine: {name}:PATH")
        return _End(path, name)
    return _End(text)


def _complete(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Complete files that are here, and machines; nothing in them."""
    from click.shell_completion import CompletionItem

    machines = shared.completes("machine")(context, parameter, incomplete)
    files = [] if is_name(incomplete.partition(":")[0]) and ":" in incomplete else ["file"]
    return [
        *(CompletionItem(f"{name}:") for name in machines),
        *(CompletionItem(incomplete, type=kind) for kind in files),
    ]


@click.command(cls=habits.Command)
@shared.wait
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=shared.read(Option("", parse_size)),
    help="Bytes that may come out of the machine, or in an archive into it. [default: 1G]",
)
@click.option(
    "--max-files",
    metavar="N",
    callback=shared.read(counted(0)("")),
    help="Files, folders and links that may come likewise. [default: 100000]",
)
@shared.duration("--timeout", "How long it may take, such as 5m. [default: 10m]")
@click.option(
    "--owner",
    metavar="NAME|UID[:GROUP]",
    help="Whose it is to be in the machine; for that, the user has to be root.",
)
@click.option(
    "-u",
    "--user",
    metavar="NAME|UID[:GROUP]",
    help="As whom files are read and written in the machine. [default: the image's, else root]",
)
@shared.verbose
@click.argument("source", metavar="SRC", callback=_parse, shell_complete=_complete)
@click.argument("target", metavar="DST", callback=_parse, shell_complete=_complete)
def cp(source: _End, target: _End, wait: bool, **how: Any) -> None:
    """Copy a file or a folder into a machine, or out of it.

    \b
      microvm cp SRC NAME:DST
      microvm cp NAME:SRC DST

    Where it goes is as for `cp -R` and `docker cp`: into a folder that is there, or behind which a
    slash stands, under its own name; of a SRC that ends with `/.` the content. A path in the
    machine is relative to where its commands run. NAME is its whole name.

    For - in the place of the path here, the files are an archive of tar: it is read from standard
    input, and unpacked into the folder DST; or it is written to standard output.

    A machine may mean harm: nothing comes out that leads elsewhere. A path here that has a colon is
    written as ./a:b.
    """  # noqa: D301 - click wants the backspace itself
    if bool(source.machine) == bool(target.machine):
        hint = f": a file that is here is ./{source.machine}:{source.path}"
        raise click.UsageError(
            "one of SRC and DST is in a machine, as NAME:PATH, and the other one here"
            + (hint if source.machine else "")
        )
    if _ARCHIVE in (source.path, target.path):
        here, of = (0, "input") if target.machine else (1, "output")
        if os.isatty(here):
            raise click.UsageError(f"- is an archive, and standard {of} is a terminal")
    given = {name: value for name, value in how.items() if value is not None}
    if target.machine and source.path != _ARCHIVE:
        if limits := [name for name in ("max_size", "max_files") if name in given]:
            flag = f"--{limits[0].replace('_', '-')}"
            raise click.UsageError(f"{flag} is about what comes from a machine, or of an archive")
    elif source.machine and "owner" in given:
        raise click.UsageError("--owner is about files in a machine: what comes out is yours")

    import asyncio

    from microvm.cli.signals import run_until_signal
    from microvm.supervisor.client.attached import AttachedVM

    vm = AttachedVM(source.machine or target.machine, wait=wait)
    standard.leave(asyncio.run(run_until_signal(_copy(vm, source, target, given))))


async def _copy(vm: AttachedVM, source: _End, target: _End, how: dict[str, Any]) -> int:
    what = f"cannot copy {source.path}"
    flags = {"max_size": "--max-size", "max_files": "--max-files"}
    async with vm:
        with copies.named(what, flags):
            if target.machine:
                await _put(vm, source.path, target.path, how)
                return 0
            try:
                await _get(vm, source.path, target.path, how)
            except BrokenPipeError:
                return 128 + signal.SIGPIPE
    return 0


async def _put(vm: AttachedVM, source: str, target: str, how: dict[str, Any]) -> None:
    if source != _ARCHIVE:
        await vm.put(source, target, **how)
        return
    with standard.Blocking(0, closefd=False) as archive:
        left_out = await vm.put_archive(archive, target, **how)
    copies.notify_names("left out of the archive, as devices and FIFOs are not carried", left_out)


async def _get(vm: AttachedVM, source: str, target: str, how: dict[str, Any]) -> None:
    if target != _ARCHIVE:
        copies.notify_left_out(await vm.get(source, target, **how))
        return
    with BufferedWriter(standard.Blocking(1, "w", closefd=False)) as archive:
        copies.notify_left_out(await vm.get_archive(source, archive, **how))
