"""The sandbox provider for NeMo Gym, whose sandboxes are machines."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microvm import MicroVM
from microvm.errors import ExecTimeout, MicroVMError
from microvm.frameworks.resources import CAPTURE_LIMIT, sizes
from microvm.frameworks.versions import supported
from microvm.jobs.ending import status
from microvm.options import PoolOptions

with supported("nemo-gym"):
    from nemo_gym.sandbox.providers.base import (
        SandboxCreateError,
        SandboxExecResult,
        SandboxHandle,
        SandboxResources,
        SandboxSpec,
        SandboxStatus,
    )

_FAILED = 125  # the framework's status for a command without an exit status of its own


@dataclass(frozen=True, slots=True)
class _Sandbox:
    vm: MicroVM
    cwd: str | None
    env: Mapping[str, str]


class MicroVMProvider:
    """Provides sandboxes that are machines. The framework knows it as `microvm`.

    ::

        sandbox = AsyncSandbox({"microvm": {"image": "python"}})
    """

    name = "microvm"

    def __init__(
        self,
        image: str = "python",
        *,
        default_timeout_s: float = 180.0,
        capture_limit: str = CAPTURE_LIMIT,
        **options: Any,
    ) -> None:
        """Create the provider.

        :param image: Image of sandboxes that ask for none.
        :param default_timeout_s: Maximum time of a command whose `timeout_s` is None. The framework
            passes 180 if the caller of its API sets no limit.
        :param capture_limit: Maximum size of each output stream. The rest is dropped.
        :param options: Options of each machine, such as `memory`; see `MicroVM`.
        """
        self._image = image
        self._timeout = default_timeout_s
        self._capture_limit = capture_limit
        self._options = {"commands": 16, **options}

    async def create(self, spec: SandboxSpec) -> SandboxHandle:
        """Start a machine.

        :raises SandboxCreateError: If the machine cannot be started, or lacks what is asked for.
        """
        if spec.resources.gpu or spec.entrypoint:
            raise SandboxCreateError("a machine has neither GPUs nor an entrypoint")
        try:
            options = {**self._options, **_sizes(spec.resources), **spec.provider_options}
            vm = MicroVM(spec.image or self._image, **options)
        except (MicroVMError, TypeError) as error:
            raise SandboxCreateError(str(error)) from error
        try:
            await vm.start()
            if spec.workdir:
                await vm.make_dir(Path("/", spec.workdir))
        except BaseException as error:
            await vm.stop()
            if isinstance(error, MicroVMError):
                raise SandboxCreateError(str(error)) from error
            raise
        sandbox = _Sandbox(vm, spec.workdir, spec.env)
        return SandboxHandle(vm.id, self.name, sandbox)

    async def exec(
        self,
        handle: SandboxHandle,
        command: str,
        *,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_s: float | None = None,
        user: str | int | None = None,
    ) -> SandboxExecResult:
        """Run a command line in the guest's shell, and return its output and status."""
        sandbox: _Sandbox = handle.raw
        try:
            run = await sandbox.vm.run(
                command,
                shell=True,
                cwd=cwd or sandbox.cwd,
                env={**sandbox.env, **(env or {})},
                user=user,
                timeout=self._timeout if timeout_s is None else timeout_s,
                capture_limit=self._capture_limit,
            )
        except ExecTimeout as error:
            text = f"{_text(error.stderr)}{error}"
            return SandboxExecResult(_text(error.stdout), text, _FAILED, "timeout")
        except MicroVMError as error:
            return SandboxExecResult(None, str(error), _FAILED, "sandbox")
        code = status(run.returncode, None)
        return SandboxExecResult(_text(run.stdout), _text(run.stderr), code)

    async def upload_file(self, handle: SandboxHandle, source_path: Path, target_path: str) -> None:
        """Copy a file into the machine."""
        await handle.raw.vm.put(source_path, _in(handle, target_path))

    async def download_file(
        self, handle: SandboxHandle, source_path: str, target_path: Path
    ) -> None:
        """Copy a file of the machine to the host."""
        target_path.parent.mkdir(parents=True, exist_ok=True)
        await handle.raw.vm.get(_in(handle, source_path), target_path)

    async def status(self, handle: SandboxHandle) -> SandboxStatus:
        """Return whether the machine answers."""
        if handle.raw.vm.pid is None:
            return SandboxStatus.STOPPED
        with suppress(MicroVMError):
            await handle.raw.vm.ping()
            return SandboxStatus.RUNNING
        return SandboxStatus.ERROR

    async def close(self, handle: SandboxHandle) -> None:
        """Stop the machine."""
        await handle.raw.vm.stop()

    async def aclose(self) -> None:
        """Do nothing, because the provider itself has no resources."""


def _sizes(resources: SandboxResources) -> PoolOptions:
    disk = None if resources.disk_gib is None else f"{resources.disk_gib}G"
    return sizes(resources.cpu, resources.memory_mib, disk)


def _in(handle: SandboxHandle, path: str) -> str:
    """Return the path of a file, relative to the working directory of the sandbox."""
    return f"{handle.raw.cwd}/{path}" if handle.raw.cwd and not path.startswith("/") else path


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
