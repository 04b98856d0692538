"""The tools that the model of a client can call.

Each public method of `Tools` is a tool. Its docstring is the description of the tool for the model,
and its parameters are the arguments of the tool.
"""

# Do not add `from __future__ import annotations`: pydantic reads the annotations in another module.

import asyncio
import time
from stat import S_ISDIR, S_ISREG
from subprocess import STDOUT
from typing import Annotated, TypeAlias

from mcp_types import ContentBlock, TextContent
from pydantic import Field

from microvm.cli.mcp import background, texts
from microvm.cli.mcp.excerpt import Excerpt
from microvm.cli.mcp.limits import MAX_ARGUMENT, MAX_COMMAND_LINE
from microvm.cli.mcp.refusal import Refusal
from microvm.cli.mcp.session import MAIN, ClientSession
from microvm.errors import ExecTimeout
from microvm.units import format_duration

_HELPER_TIMEOUT = 30.0  # maximum number of seconds of the commands that serve a tool
_MAX_FILE = 16 << 20  # maximum size of a file that `read_file` reads, in bytes
_MAX_WAIT = 60  # maximum number of seconds for which `read_output` waits
_MAX_PAUSE = 1.0  # maximum number of seconds after which a waiting `read_output` looks again

Text: TypeAlias = Annotated[str, Field(max_length=MAX_ARGUMENT)]
CommandLine: TypeAlias = Annotated[
    str, Field(max_length=MAX_COMMAND_LINE, description="Command line for `sh -c`")
]
Path: TypeAlias = Annotated[str, Field(pattern=r"^[^\x00]+$", max_length=4096)]
Image: TypeAlias = Annotated[str, Field(max_length=4096, description="Image of the machine")]
Name: TypeAlias = Annotated[str, Field(max_length=64)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, description="Time limit in seconds")]
Machine: TypeAlias = Annotated[
    Name, Field(description="Name of the machine; `main` starts at its first use")
]


class Tools:
    """The tools of a session. Each method raises `Refusal`, or errors of `microvm` and OSError."""

    def __init__(self, session: ClientSession) -> None:
        """Create the tools."""
        self._session = session
        self._limits = session.limits

    async def run_command(
        self,
        command: CommandLine,
        machine: Machine = MAIN,
        timeout: Seconds | None = None,
    ) -> str:
        """Run a shell command, and return its output and exit status.

        Files stay for later commands, but `cd` and variables do not. Use start_background for
        servers and for commands that take long.
        """
        seconds = self._seconds(timeout)
        output = Excerpt(self._limits.max_result)
        async with (
            self._session.using(machine) as used,
            await used.vm.exec(command, shell=True, stderr=STDOUT, timeout=seconds) as process,
        ):
            while chunk := await process.stdout.next_chunk():
                output.feed(chunk)
            try:
                note = f"exit status {await process.wait()}"
            except ExecTimeout:
                limit = format_duration(seconds)
                note = f"killed after {limit}, its time limit; start_background has no time limit"
        return texts.with_note(str(output), note)

    async def run_python(
        self,
        code: Annotated[Text, Field(description="Python code")],
        machine: Machine = MAIN,
        timeout: Seconds | None = None,
    ) -> list[ContentBlock]:
        """Run Python code, and return its output and the value of its last expression.

        Variables and imports stay for later calls.
        """
        seconds = self._seconds(timeout)
        async with self._session.using(machine) as used:
            cell = await used.run_cell(code, seconds)
        text = texts.of_cell(cell, seconds, self._limits.max_result)
        return [TextContent(text=text), *texts.images(cell)]

    async def start_background(
        self,
        command: CommandLine,
        machine: Machine = MAIN,
    ) -> str:
        """Start a shell command in the background, and return its process id.

        read_output reads its output. To end it, use run_command with `kill -- -ID`.
        """
        refusal = "The machine cannot start it. Look with run_command whether /tmp is full."
        started = await self._helper(machine, background.start(command), refusal)
        try:
            return f"Process {int(started)} has started."
        except ValueError:
            raise Refusal(refusal) from None

    async def read_output(
        self,
        process: Annotated[int, Field(gt=0, description="Process id from start_background")],
        machine: Machine = MAIN,
        position: Annotated[int, Field(ge=0, description="Number of bytes to skip")] = 0,
        wait: Annotated[
            float,
            Field(
                ge=0,
                le=_MAX_WAIT,
                description="Maximum number of seconds to wait until the process exits",
            ),
        ] = 0,
    ) -> str:
        """Read the output of a background command, and whether it has exited."""
        deadline, pause = time.monotonic() + wait, 0.1
        while True:
            report = await self._read_output(machine, process, position)
            left = deadline - time.monotonic()
            if not report.is_running or left <= 0:
                break
            # Wait here, and not by a command in the machine: a machine that runs a command cannot
            # be forked, and in a busy machine the command would take longer than `wait`.
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _MAX_PAUSE)
        next_position = position + len(report.output)
        more = "more output" if next_position < report.size else "later output"
        note = f"{report.state}; {more} is at position {next_position}"
        return texts.with_note(report.output.decode(errors="replace"), note)

    async def read_file(
        self,
        path: Path,
        machine: Machine = MAIN,
        first_line: Annotated[int, Field(ge=1, description="Number of the first line")] = 1,
    ) -> str:
        """Read a text file."""
        async with self._session.using(machine) as used:
            data = await used.vm.read_file(path, max_size=_MAX_FILE, timeout=_HELPER_TIMEOUT)
        try:
            return await asyncio.to_thread(
                texts.of_lines, data, first_line, self._limits.max_result
            )
        except UnicodeDecodeError:
            hint = "Use run_command, for example with `od -c`."
            raise Refusal(f"The file is no UTF-8 text. It has {len(data)} bytes. {hint}") from None

    async def write_file(
        self,
        path: Path,
        content: Annotated[Text, Field(description="The whole content")],
        machine: Machine = MAIN,
    ) -> str:
        """Write a text file, and create missing folders."""
        data = content.encode(errors="surrogatepass")
        async with self._session.using(machine) as used:
            await used.vm.write_file(path, data, timeout=_HELPER_TIMEOUT)
        return f"Wrote {len(data)} bytes."

    async def list_files(self, path: Path = ".", machine: Machine = MAIN) -> str:
        """List a folder."""
        async with self._session.using(machine) as used:
            entries = await used.vm.list(path, timeout=_HELPER_TIMEOUT)
        return texts.of_folder(entries, self._limits.max_result)

    async def start_machine(
        self,
        image: Image | None = None,
        snapshot: Annotated[Name | None, Field(description="Snapshot from checkpoint")] = None,
    ) -> str:
        """Start another machine, from an image or from a snapshot, and return its name."""
        return f"{await self._session.start(image, snapshot)} has started."

    async def checkpoint(self, machine: Machine = MAIN) -> str:
        """Save a snapshot of a machine with its files, processes and Python variables.

        start_machine starts machines from the snapshot.
        """
        return f"{await self._session.checkpoint(machine)} is saved."

    async def fork(
        self,
        machine: Machine = MAIN,
        count: Annotated[int, Field(ge=1, le=100, description="Number of copies")] = 1,
    ) -> str:
        """Start copies of a running machine, for example to try several solutions.

        Each copy has the files, processes and Python variables of the machine.
        """
        names = await self._session.fork(machine, count)
        return f"Started {', '.join(names)}."

    async def forward_port(
        self,
        port: Annotated[
            int,
            Field(ge=1, le=65535, description="TCP port on which a server listens in the machine"),
        ],
        machine: Machine = MAIN,
    ) -> str:
        """Let programs on the user's computer reach a server in a machine, and return its URL."""
        async with self._session.using(machine) as used:
            return await used.forward(port)

    async def copy_from_host(
        self,
        source: Annotated[Path, Field(description="Path in the user's shared folder")],
        target: Annotated[Path, Field(description="Path in the machine")],
        machine: Machine = MAIN,
    ) -> str:
        """Copy a file or a folder of the user's shared folder into a machine."""
        folder = self._limits.folder
        if folder is None:
            raise Refusal("The server shares no folder of its host.")
        found = await asyncio.to_thread((folder / source).resolve)
        if not found.is_relative_to(folder):
            raise Refusal("The source is outside of the shared folder. Give a path in it.")
        mode = (await asyncio.to_thread(found.stat)).st_mode
        if not (S_ISREG(mode) or S_ISDIR(mode)):
            raise Refusal("The source is neither a file nor a folder.")
        async with self._session.using(machine) as used:
            await used.vm.put(found, target, timeout=self._limits.timeout)
        return f"Copied to {target}."

    async def stop(
        self, name: Annotated[Name, Field(description="Name of a machine or a snapshot")]
    ) -> str:
        """Stop a machine and delete its files, or delete a snapshot."""
        await self._session.stop(name)
        return f"{name} is removed."

    async def _read_output(
        self, machine: str, process: int, position: int
    ) -> background.OutputReport:
        command = background.read(process, position, self._limits.max_result)
        refusal = "The machine has no such process of start_background."
        printed = await self._helper(machine, command, refusal)
        try:
            return background.OutputReport.parse(printed)
        except ValueError:
            raise Refusal("The files about the process in /tmp have been changed.") from None

    def _seconds(self, timeout: float | None) -> float:
        """Return the time limit of a command, which is the server's limit by default."""
        most = self._limits.timeout
        if timeout is not None and timeout > most:
            raise Refusal(f"timeout: at most {most:g} seconds. Use start_background instead.")
        return timeout or most

    async def _helper(self, machine: str, command: list[str], refusal: str) -> bytes:
        """Run a command that serves a tool, and return its output; raise `refusal` if it fails."""
        most = self._limits.max_result + 1024
        async with self._session.using(machine) as used:
            done = await used.run_helper(command, _HELPER_TIMEOUT, most)
        if done.returncode:
            raise Refusal(refusal)
        return bytes(done.stdout)
