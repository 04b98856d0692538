"""Pydantic AI: a workspace in a named machine, with native commands and files.

::

    agent = Agent("anthropic:claude-opus-5-5", capabilities=[MicroVMWorkspace("python")])

A later run, even of another process, can continue in the machine. The machine stops when nobody has
used it for `idle_timeout`. `microvm stop` also stops it.
"""

from __future__ import annotations

import asyncio
import math
import posixpath
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Unpack

from microvm import AttachedVM, FileStatus, MicroVM
from microvm.errors import ExecTimeout, MachineError, MicroVMError, OutputLimit
from microvm.frameworks.versions import supported
from microvm.jobs.ending import status as exit_code
from microvm.options import MachineOptions
from microvm.units import Duration

with supported("pydantic-ai"):
    from pydantic_ai import workspaces as ws
    from pydantic_ai.capabilities import AbstractCapability
    from pydantic_ai.tools import AgentDepsT, RunContext
    from pydantic_ai.workspaces import CommandResult, FileEntry, WorkspaceCommand, WorkspaceRef

PROVIDER = "microvm"
PREFIX = "pydantic-ai-"
MAX_OUTPUT = 10 << 20  # bytes of a command's output, as in the framework's local workspace


class WorkspaceOptions(MachineOptions, total=False):
    """Options of a workspace and its machine, which by default runs up to 16 commands at once.

    :ivar user: User of the guest who runs commands and owns files; by default the image's user.
    :ivar env: Environment variables of all commands.
    :ivar idle_timeout: Time after which an unused machine stops; by default one hour.
    """

    user: str
    env: Mapping[str, str]
    idle_timeout: Duration | None


class MicroVMWorkspace(AbstractCapability[AgentDepsT]):
    """Capability that gives an agent a workspace in a machine. None is the default image."""

    def __init__(
        self, image: str | Path | None = None, **options: Unpack[WorkspaceOptions]
    ) -> None:
        self.id = "microvm_workspace"
        self._image = image
        self._options = options

    def get_workspace(
        self, ctx: RunContext[AgentDepsT], *, ref: WorkspaceRef | None
    ) -> ws.WorkspaceBackend | None:
        """Return the workspace of a run, or None if `ref` belongs to another provider."""
        # `ref` comes from a history of messages, and the author of the history may be hostile. So
        # accept only names of machines that a workspace has started.
        if ref is None or (ref.provider == PROVIDER and ref.id.startswith(PREFIX)):
            return MicroVMBackend(self._image, ref=ref, **self._options)
        return None


class MicroVMBackend(
    ws.WorkspaceBackend, ws.SupportsCommands, ws.SupportsFilesystem, ws.SupportsRealpath
):
    """A workspace in one machine. The first operation starts the machine, or finds it by `ref`."""

    def __init__(
        self,
        image: str | Path | None = None,
        *,
        ref: WorkspaceRef | None = None,
        **options: Unpack[WorkspaceOptions],
    ) -> None:
        given: dict[str, Any] = {"commands": 16, "idle_timeout": "1h", **options}
        self._image = image
        self._ref = ref
        self._env: Mapping[str, str] = given.pop("env", {})
        self._user: str | None = given.pop("user", None)
        self._options = given
        self._machine: asyncio.Future[AttachedVM] | None = None
        self._folder = ""

    @property
    def ref(self) -> WorkspaceRef | None:
        return self._ref

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[AttachedVM]:
        """Yield the machine; raise `WorkspaceUnavailableError` if it has failed."""
        machine = self._machine
        if machine is None or (machine.done() and (machine.cancelled() or machine.exception())):
            machine = self._machine = asyncio.ensure_future(self._find_or_start())
        try:
            # If one of several operations is cancelled, the others still need the machine.
            yield await asyncio.shield(machine)
        except MachineError as error:
            raise ws.WorkspaceUnavailableError(str(error)) from error

    async def _find_or_start(self) -> AttachedVM:
        if self._ref is None:
            name = PREFIX + secrets.token_hex(8)
            vm = await MicroVM.start_named(name, self._image, wait=True, **self._options)
            self._ref = WorkspaceRef(provider=PROVIDER, id=name)
            return vm
        try:
            return MicroVM.attach(self._ref.id, wait=True)
        except MicroVMError as error:
            raise ws.WorkspaceUnavailableError(str(error)) from error

    async def working_dir(self) -> str:
        self._folder = self._folder or await self.realpath(".")
        return self._folder

    async def realpath(self, path: str) -> str:
        async with self._using() as vm:
            return await vm.realpath(path, user=self._user)

    async def run(
        self,
        command: WorkspaceCommand,
        *,
        shell: bool = False,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        if isinstance(command, str) != shell:
            raise TypeError("a command is text with shell=True, and otherwise a list")
        if timeout is not None and not 0 < timeout < math.inf:
            raise ValueError(f"the timeout {timeout} is not a positive finite number")
        try:
            async with self._using() as vm:
                done = await vm.run(
                    command,
                    shell=shell,
                    env={**self._env, **(env or {})},
                    timeout=timeout,
                    max_output=MAX_OUTPUT,
                    encoding="utf-8",
                    errors="replace",
                    newline="",
                    check_start=False,
                    user=self._user,
                )
        except (ExecTimeout, OutputLimit) as error:
            output: dict[str, Any] = {"stdout": error.stdout, "stderr": error.stderr}
            if isinstance(error, ExecTimeout):
                raise ws.WorkspaceTimeoutError(str(error), **output) from error
            raise ws.WorkspaceOutputLimitError(str(error), limit=error.limit, **output) from error
        code = exit_code(done.returncode, None)
        return CommandResult(exit_code=code, stdout=done.stdout, stderr=done.stderr)

    async def read_bytes(self, path: str) -> bytes:
        async with self._using() as vm:
            return await vm.read_file(path, user=self._user)

    async def write_bytes(self, path: str, data: bytes) -> None:
        async with self._using() as vm:
            await vm.write_file(path, data, user=self._user)

    async def stat(self, path: str) -> FileEntry:
        async with self._using() as vm:
            return _entry(path, await vm.stat(path, user=self._user))

    async def list_dir(self, path: str) -> Sequence[FileEntry]:
        async with self._using() as vm:
            found = await vm.list(path, follow_symlinks=True, user=self._user)
        return [_entry(posixpath.join(path, each.name), each) for each in found]

    async def make_dir(self, path: str) -> None:
        async with self._using() as vm:
            await vm.make_dir(path, user=self._user)

    async def remove(self, path: str) -> None:
        parent, name = posixpath.split(path)
        target = posixpath.join(await self.realpath(parent), name)
        if f"{await self.working_dir()}/".startswith(f"{target.rstrip('/')}/"):
            raise ValueError(f"{path} contains the working directory of the workspace")
        async with self._using() as vm:
            await vm.remove(target, recursive=True, user=self._user)

    async def exists(self, path: str) -> bool:
        async with self._using() as vm:
            return await vm.exists(path, user=self._user)


def _entry(path: str, status: FileStatus) -> FileEntry:
    name, size = posixpath.basename(path), status.size if status.is_file else None
    return FileEntry(name=name, path=path, is_dir=status.is_folder, size=size)
