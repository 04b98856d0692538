"""`microvm cp`: copy files into and out of a named machine."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from io import BufferedWriter
from typing import Any

import click
from click.shell_completion import CompletionItem

from microvm.cli import copies, docker_hints, parameters, standard_streams
from microvm.cli.signals import run_until_signal
from microvm.options import counted
from microvm.printable import quoted
from microvm.supervisor.client.attached import AttachedVM
from microvm.supervisor.runtime_directory import is_name

_ARCHIVE = "-"


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The source or the target of `microvm cp`: a path on the host or in a machine.

    :ivar machine: Name of the machine that contains the path; empty for a path on the host.
    """

    path: str
    machine: str = ""


def _parse(context: click.Context, parameter: click.Parameter, text: str) -> _Endpoint:
    del context, parameter
    name, colon, path = text.partition(":")
    if colon and is_name(name):
        if not path:
            raise click.BadParameter(f"{quoted(text)} has no path: write {name}:PATH")
        return _Endpoint(path, name)
    return _Endpoint(text)


def _complete(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    """Complete names of machines and of files on the host. Files in a machine are not completed."""
    machines = parameters.completer("machine")(context, parameter, incomplete)
    files = [] if is_name(incomplete.partition(":")[0]) and ":" in incomplete else ["file"]
    return [
        *(CompletionItem(f"{name}:") for name in machines),
        *(CompletionItem(incomplete, type=kind) for kind in files),
    ]


@click.command(cls=docker_hints.HintingCommand)
@parameters.wait
@parameters.option(
    "--max-size SIZE",
    "Limit the size of all files copied out of the machine, or of the archive copied into "
    "it. [default: 1G]",
    callback=parameters.size,
)
@parameters.option(
    "--max-files N",
    "Limit the number of files, folders and links in the same way. [default: 100000]",
    callback=parameters.parser(counted(0)("")),
)
@parameters.duration("--timeout", "Stop the copy after this time, such as 5m. [default: 10m]")
@parameters.option(
    "--owner NAME|UID[:GROUP]",
    "Make this user the owner of the files in the machine. -u must be root then.",
)
@parameters.option(
    "-u --user NAME|UID[:GROUP]",
    "Read and write files in the machine as this user. [default: the image's user, else root]",
)
@parameters.verbose
@click.argument("source", metavar="SRC", callback=_parse, shell_complete=_complete)
@click.argument("target", metavar="DST", callback=_parse, shell_complete=_complete)
def cp(source: _Endpoint, target: _Endpoint, wait: bool, **options: Any) -> None:
    """Copy a file or a folder into or out of a named machine.

    \b
      microvm cp SRC NAME:DST
      microvm cp NAME:SRC DST

    NAME is the full name of a machine. The other path is on the host; write ./a:b if it contains a
    colon.

    DST is interpreted as by `cp -R` and `docker cp`. If DST is an existing folder, or ends with a
    slash, SRC is copied into that folder under its own name. If SRC ends with `/.`, only the
    content of the folder is copied. A relative path in the machine is relative to the working
    directory of commands.

    If the path on the host is -, files are copied as a tar archive: read from standard input and
    unpacked into the folder DST of the machine, or written to standard output.

    Files from a machine are not trusted: no file is written outside of DST, and no link that points
    out of DST is copied.
    """  # noqa: D301 - `\b` tells click to keep the lines
    if bool(source.machine) == bool(target.machine):
        hint = f": write ./{source.machine}:{source.path} for a file on the host"
        raise click.UsageError(
            "one of SRC and DST must be NAME:PATH, in a machine, and the other a path on the host"
            + (hint if source.machine else "")
        )
    if _ARCHIVE in (source.path, target.path):
        descriptor, stream = (0, "input") if target.machine else (1, "output")
        if os.isatty(descriptor):
            raise click.UsageError(f"- is a tar archive, but standard {stream} is a terminal")
    given = {name: value for name, value in options.items() if value is not None}
    if target.machine and source.path != _ARCHIVE:
        if limits := [name for name in ("max_size", "max_files") if name in given]:
            flag = f"--{limits[0].replace('_', '-')}"
            raise click.UsageError(
                f"{flag} limits only copies out of a machine, and archives: leave it out"
            )
    elif source.machine and "owner" in given:
        raise click.UsageError(
            "--owner applies only to copies into a machine: files copied out of it are yours"
        )

    vm = AttachedVM(source.machine or target.machine, wait=wait)
    standard_streams.leave(asyncio.run(run_until_signal(_copy(vm, source, target, given))))


async def _copy(
    vm: AttachedVM, source: _Endpoint, target: _Endpoint, options: dict[str, Any]
) -> int:
    what = f"cannot copy {source.path}"
    flags = {"max_size": "--max-size", "max_files": "--max-files"}
    async with vm:
        with copies.converted_errors(what, flags):
            if target.machine:
                await _put(vm, source.path, target.path, options)
                return 0
            try:
                await _get(vm, source.path, target.path, options)
            except BrokenPipeError:
                return 128 + signal.SIGPIPE
    return 0


async def _put(vm: AttachedVM, source: str, target: str, options: dict[str, Any]) -> None:
    if source != _ARCHIVE:
        await vm.put(source, target, **options)
        return
    with standard_streams.BlockingStream(0, closefd=False) as archive:
        left_out = await vm.put_archive(archive, target, **options)
    copies.notify_names(
        "left out of the archive, because devices and FIFOs are not copied", left_out
    )


async def _get(vm: AttachedVM, source: str, target: str, options: dict[str, Any]) -> None:
    if target != _ARCHIVE:
        copies.notify_left_out(await vm.get(source, target, **options))
        return
    with BufferedWriter(standard_streams.BlockingStream(1, "w", closefd=False)) as archive:
        copies.notify_left_out(await vm.get_archive(source, archive, **options))
