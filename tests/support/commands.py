"""The commands of a program, and the lines of a job file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import click

from microvm.jobs.file import LineJob, parse


def below(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Return a command and all its subcommands, each with the names that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if each := command.get_command(context, name):
                yield from below(each, *path, name)


def parsed_jobs(text: str | bytes, env: dict[str, str] | None = None) -> list[LineJob]:
    """Return the jobs of a job file; `env` has the variables of every job."""
    data = text.encode() if isinstance(text, str) else text

    async def lines() -> AsyncIterator[bytes]:
        for line in data.split(b"\n"):
            yield line

    async def main() -> list[LineJob]:
        return [job async for job in parse(lines(), env)]

    return asyncio.run(main())
