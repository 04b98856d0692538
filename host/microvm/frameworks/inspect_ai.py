"""Inspect AI: a sandbox provider that starts a machine for each sample.

::

    Task(dataset=dataset, solver=solver, sandbox=("microvm", "python"))

Inspect finds this module by its entry point, so no program has to import it.
"""

from __future__ import annotations

import os
from errno import EACCES
from pathlib import Path
from subprocess import PIPE
from typing import Any, Literal, Self, overload

from microvm import MicroVM, Snapshot
from microvm.errors import StartError
from microvm.frameworks.inspect_process import (
    RemoteOptions,
    RemoteProcess,
    decoded,
    encoded,
    expected_errors,
)
from microvm.frameworks.versions import supported
from microvm.images import MANIFEST
from microvm.jobs.ending import status

with supported("inspect"):
    from inspect_ai import util
    from inspect_ai.util import ExecRemoteStreamingOptions, ExecResult
    from inspect_ai.util import SandboxEnvironmentLimits as Limits
    from inspect_ai.util._sandbox.events import SandboxEnvironmentProxy
    from pydantic import BaseModel, model_validator


class MicroVMConfig(BaseModel, frozen=True, extra="forbid"):
    """The machine of a sample: an image, or a saved snapshot, and the options of `MicroVM`."""

    image: str | None = None
    snapshot: str | None = None
    memory: int | str | None = None
    cpus: int | None = None
    disk: int | str | None = None
    user: str | None = None
    """User of the guest who runs commands and owns files; by default the image's user."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.image is not None and self.snapshot is not None:
            raise ValueError("image and snapshot cannot be used together")
        return self


@util.sandboxenv(name="microvm")
class InspectSandbox(util.SandboxEnvironment):
    """The sandbox of one sample. `vm` is its machine, and `user` runs its commands."""

    def __init__(self, vm: MicroVM, user: str | None) -> None:
        """Use a machine that has started."""
        super().__init__()
        self.vm = vm
        self.user = user

    @classmethod
    def default_concurrency(cls) -> int | None:
        """Return the maximum number of machines at a time: the default for Docker containers."""
        return 2 * (os.cpu_count() or 1)

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """Return the configuration that a log contains."""
        return MicroVMConfig(**config)

    @classmethod
    async def sample_init(
        cls,
        task_name: str,
        config: util.SandboxEnvironmentConfigType | None,
        metadata: dict[str, str],
    ) -> dict[str, util.SandboxEnvironment]:
        """Start the machine of a sample."""
        if not isinstance(config, MicroVMConfig):
            config = MicroVMConfig(image=_image(config) if isinstance(config, str) else None)
        options = config.model_dump(include={"memory", "cpus", "disk"}, exclude_none=True)
        source = config.image if config.snapshot is None else Snapshot.find(config.snapshot)
        vm = MicroVM(source, commands=64, **options)
        try:
            await vm.start()
        except BaseException:
            await vm.stop()
            raise
        return {"default": cls(vm, config.user)}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: util.SandboxEnvironmentConfigType | None,
        environments: dict[str, util.SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """Stop the machine of a sample."""
        for environment in environments.values():
            await environment.as_type(cls).vm.stop()

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,  # noqa: A002 - the framework's name
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: float | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command once: `timeout_retry` is only for sandboxes that can lose an answer."""
        try:
            with expected_errors():
                done = await self.vm.run(
                    cmd,
                    input=encoded(input or b""),
                    cwd=await self._absolute(cwd),
                    env=env,
                    user=user or self.user,
                    timeout=timeout,
                    max_output=2 * Limits.MAX_EXEC_OUTPUT_SIZE,  # Inspect checks each stream
                )
        except StartError as error:
            if error.stage == "exec" and error.errno == EACCES:
                raise PermissionError(str(error)) from error
            return ExecResult(False, error.exit_status, "", f"{error}\n")
        code = status(done.returncode, None)
        return ExecResult(code == 0, code, decoded(done.stdout), decoded(done.stderr))

    async def exec_remote(
        self, cmd: list[str], options: RemoteOptions | None = None, *, stream: bool = True
    ) -> Any:
        """Run a command without Inspect's tool, which is a program of 32 MB."""
        how = options or ExecRemoteStreamingOptions()
        if not stream:
            timeout = getattr(how, "timeout", None)
            return await self.exec(cmd, how.input, how.cwd, how.env, how.user, timeout)
        with expected_errors():
            process = await self.vm.exec(
                cmd,
                cwd=await self._absolute(how.cwd),
                env=how.env,
                user=how.user or self.user,
                stdin=PIPE,
            )
        return RemoteProcess(self, cmd, how, process)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        with expected_errors():
            await self.vm.write_file(file, contents, user=self.user)

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...
    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...
    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        with expected_errors():
            limit = Limits.MAX_READ_FILE_SIZE
            data = await self.vm.read_file(file, max_size=limit, user=self.user)
        return data.decode() if text else data

    async def _absolute(self, cwd: str | None) -> str | None:
        if cwd is None or cwd.startswith("/"):
            return cwd
        return await self.vm.realpath(cwd, user=self.user)


def _image(config: str) -> str:
    """Return the image that a task names. Inspect has converted the name to a path."""
    return config if Path(config, MANIFEST).exists() else Path(config).name


async def _exec_remote(
    self: SandboxEnvironmentProxy, cmd: list[str], options: Any = None, *, stream: bool = True
) -> Any:
    """Call the sandbox's own `exec_remote`. Without this, Inspect's proxy injects its tool."""
    sandbox = self._sandbox
    if isinstance(sandbox, InspectSandbox):
        return await sandbox.exec_remote(cmd, options, stream=stream)
    injected: Any = util.SandboxEnvironment.exec_remote
    return await injected(self, cmd, options, stream=stream)


if "exec_remote" not in vars(SandboxEnvironmentProxy):
    SandboxEnvironmentProxy.exec_remote = _exec_remote  # type: ignore[method-assign, assignment]
