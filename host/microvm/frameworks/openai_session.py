"""A session of OpenAI Agents: a machine whose files and commands the agent uses."""

from __future__ import annotations

import io
from pathlib import Path
from subprocess import STDOUT
from typing import Any, Literal

from microvm import Forward, MicroVM, Process, Snapshot
from microvm.constants import MAX_COMMANDS
from microvm.errors import ExecTimeout, FileError, FileNotFound, MicroVMError, UsageError
from microvm.frameworks.openai_processes import InteractiveSession
from microvm.frameworks.versions import supported
from microvm.jobs.ending import status

with supported("openai-agents"):
    from agents.sandbox import errors
    from agents.sandbox.session import BaseSandboxClientOptions
    from agents.sandbox.session.sandbox_session_state import SandboxSessionState
    from agents.sandbox.session.tar_workspace import shell_tar_exclude_args
    from agents.sandbox.types import ExecResult, ExposedPortEndpoint, User

_MAX_OUTPUT = "64M"
_MAX_WORKSPACE = "1G"


class MicroVMSandboxClientOptions(BaseSandboxClientOptions):
    """Options of a session: those of its machine, its ports, and how its workspace is saved.

    :ivar exposed_ports: Ports of the guest that the host can reach.
    :ivar workspace_persistence: `tar` saves the files of the workspace. `snapshot` saves the whole
        machine with its processes, as the snapshot `openai-ID` in the cache.
    """

    type: Literal["microvm"] = "microvm"
    image: str = "python"
    memory: int | str = "512M"
    cpus: int = 1
    disk: int | str = 0
    exposed_ports: tuple[int, ...] = ()
    workspace_persistence: Literal["tar", "snapshot"] = "tar"


class MicroVMSandboxSessionState(SandboxSessionState):
    """The state of a session, which can be stored as JSON."""

    type: Literal["microvm"] = "microvm"
    options: MicroVMSandboxClientOptions

    @property
    def machine_snapshot(self) -> str:
        """Name of the snapshot in which the machine is saved."""
        return f"openai-{self.session_id.hex[:12]}"


class MicroVMSandboxSession(InteractiveSession):
    """A session, which has a machine from `start` to `shutdown`."""

    state: MicroVMSandboxSessionState

    def __init__(self, state: MicroVMSandboxSessionState) -> None:
        super().__init__()
        self.state = state
        self._machine: MicroVM | None = None
        self._forwards: dict[int, Forward] = {}

    @property
    def vm(self) -> MicroVM:
        """The machine.

        :raises UsageError: If the session is not running.
        """
        if self._machine is None:
            raise UsageError("the session is not running")
        return self._machine

    async def _start_machine(self, machine: MicroVM) -> None:
        self._machine = machine
        await machine.start()
        await machine.make_dir(self.state.manifest.root)

    async def _ensure_backend_started(self) -> None:
        given = self.state.options
        if self._machine is None:
            sizes: Any = {"memory": given.memory, "cpus": given.cpus, "disk": given.disk}
            await self._start_machine(MicroVM(given.image, commands=MAX_COMMANDS, **sizes))

    async def _after_start_failed(self) -> None:
        await self._shutdown_backend()

    async def _shutdown_backend(self) -> None:
        machine, self._machine = self._machine, None
        if machine is not None:
            try:
                await self._close_forwards()
            finally:
                await machine.stop()

    async def _close_forwards(self) -> None:
        while self._forwards:
            await self._forwards.popitem()[1].close()

    async def running(self) -> bool:
        """Return True if the machine answers."""
        try:
            await self.vm.ping()
        except MicroVMError:
            return False
        return True

    async def _exec_internal(
        self, *command: str | Path, timeout: float | None = None
    ) -> ExecResult:
        argv, options = await self._request(command, timeout)
        options["max_output"] = _MAX_OUTPUT
        try:
            run = await self.vm.run(argv, check_start=False, **options)
        except ExecTimeout as error:
            limit = error.timeout
            raise errors.ExecTimeoutError(command=command, timeout_s=limit, cause=error) from error
        except MicroVMError as error:
            text = str(error)
            raise errors.ExecTransportError(command=command, cause=error, message=text) from error
        code = status(run.returncode, None)
        return ExecResult(stdout=run.stdout, stderr=run.stderr, exit_code=code)

    async def _begin(self, command: list[str], *, tty: bool, timeout: float | None) -> Process:
        argv, options = await self._request(command, timeout)
        if tty:
            options["tty"] = True
        else:
            options["stderr"] = STDOUT
        return await self.vm.exec(argv, **options)

    def _current_runtime_helper_cache_key(self) -> object | None:
        return self._machine

    async def _validate_path_access(self, path: Path | str, *, for_write: bool = False) -> Path:
        return await self._validate_remote_path_access(path, for_write=for_write)

    async def read(self, path: Path, *, user: str | User | None = None) -> io.BytesIO:
        """Return the content of a file of at most 64 MiB."""
        target = await self._validate_path_access(path)
        try:
            return io.BytesIO(await self.vm.read_file(target, user=_name(user)))
        except FileNotFound as error:
            raise errors.WorkspaceReadNotFoundError(path=path, cause=error) from error
        except FileError as error:
            raise errors.WorkspaceArchiveReadError(path=path, cause=error) from error

    async def write(self, path: Path, data: io.IOBase, *, user: str | User | None = None) -> None:
        """Write a file. Missing folders are created."""
        target = await self._validate_path_access(path, for_write=True)
        try:
            await self.vm.write_file(target, data.read(), user=_name(user))
        except FileError as error:
            raise errors.WorkspaceArchiveWriteError(path=path, cause=error) from error

    async def persist_workspace(self) -> io.BytesIO:
        """Save the workspace, and return its archive or the name of the machine's snapshot."""
        if self.state.options.workspace_persistence == "snapshot":
            await self._close_forwards()
            (await self.vm.checkpoint(self.state.machine_snapshot)).close()
            return io.BytesIO(self.state.machine_snapshot.encode())
        excluded = shell_tar_exclude_args(self._persist_workspace_skip_relpaths())
        return io.BytesIO(await self._tar(" ".join(["-c", *excluded, "."])))

    async def hydrate_workspace(self, data: io.IOBase) -> None:
        """Restore the workspace that `persist_workspace` has saved."""
        if self.state.options.workspace_persistence == "snapshot":
            await self._shutdown_backend()
            with Snapshot.find(self.state.machine_snapshot) as snapshot:
                await self._start_machine(MicroVM(snapshot, commands=MAX_COMMANDS))
            self._set_start_state_preserved(False, system=True)
        else:
            await self._tar("-x", data.read())

    async def _tar(self, arguments: str, archive: bytes = b"") -> bytes:
        """Run `tar` in the workspace, and return its output."""
        root = self.state.manifest.root
        run = await self.vm.run(
            ["sh", "-c", f"tar {arguments}"], cwd=root, input=archive, max_output=_MAX_WORKSPACE
        )
        if run.returncode:
            failed = ExecResult(stdout=b"", stderr=run.stderr, exit_code=run.returncode)
            raise errors.ExecNonZeroError(failed, command=["tar", arguments])
        return run.stdout

    async def _resolve_exposed_port(self, port: int) -> ExposedPortEndpoint:
        if port not in self._forwards:
            self._forwards[port] = await self.vm.forward(0, port)
        host, number = self._forwards[port].address
        return ExposedPortEndpoint(host=host, port=number)


def _name(user: str | User | None) -> str | None:
    return user.name if isinstance(user, User) else user
