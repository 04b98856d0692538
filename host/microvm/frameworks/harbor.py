"""The environment for Harbor, whose trials run in machines."""

from __future__ import annotations

from pathlib import Path

from microvm import MicroVM
from microvm.errors import UsageError
from microvm.frameworks.resources import CAPTURE_LIMIT, sizes
from microvm.frameworks.versions import supported
from microvm.jobs.ending import status

with supported("harbor"):
    from harbor.environments.base import BaseEnvironment, ExecResult
    from harbor.environments.capabilities import (
        EnvironmentCapabilities,
        EnvironmentResourceCapabilities,
    )
    from harbor.environments.options import EnvironmentOptions
    from harbor.models.task.config import NetworkMode


class MicroVMTrialOptions(EnvironmentOptions):  # type: ignore[misc]
    """Options of the environment, as in `--ek image=python`.

    :ivar image: Image of the machine. The default is the `docker_image` of the task.
    :ivar offline: True to run also tasks that ask for a network, which the machine does not have.
    """

    image: str | None = None
    offline: bool = False


class MicroVMTrialEnvironment(BaseEnvironment):  # type: ignore[misc]
    """An environment that is a machine.

    ::

        harbor run -e microvm.frameworks.harbor:MicroVMTrialEnvironment …
    """

    options_model = MicroVMTrialOptions
    options: MicroVMTrialOptions
    _machine: MicroVM | None = None

    @staticmethod
    def type() -> str:
        """Return the name of the environment."""
        return "microvm"

    @property
    def capabilities(self) -> EnvironmentCapabilities:
        """The features of the environment: it has no network."""
        return EnvironmentCapabilities(disable_internet=True)

    @classmethod
    def resource_capabilities(cls) -> EnvironmentResourceCapabilities:
        """Return the resources that the environment limits."""
        return EnvironmentResourceCapabilities(cpu_limit=True, memory_limit=True)

    @property
    def _image(self) -> str | None:
        return self.options.image or self.task_env_config.docker_image

    def _validate_definition(self) -> None:
        if self._image is None:
            raise ValueError("microvm builds no Dockerfile: use --ek image=NAME of an image")
        if self.network_policy.network_mode != NetworkMode.NO_NETWORK and not self.options.offline:
            raise ValueError(
                "the task asks for a network, which the machine does not have: "
                "use --ek offline=true to run it nevertheless"
            )

    @property
    def vm(self) -> MicroVM:
        """The machine.

        :raises UsageError: If the environment has not been started.
        """
        if self._machine is None:
            raise UsageError("the environment has not been started")
        return self._machine

    async def start(self, force_build: bool) -> None:
        """Start the machine, and create the folders of the trial."""
        storage = self._effective_storage_mb
        disk = None if storage is None else f"{storage}M"
        options = sizes(self._effective_cpus, self._effective_memory_mb, disk)
        self._machine = MicroVM(self._image, commands=16, **options)
        try:
            await self._machine.start()
            if workdir := self.task_env_config.workdir:
                await self._machine.make_dir(Path("/", workdir))
            await self.ensure_dirs(self._mount_targets(writable_only=True))
            await self._upload_environment_dir_after_start()
        except BaseException:
            await self._machine.stop()
            raise

    async def stop(self, delete: bool) -> None:
        """Stop the machine, which deletes it."""
        if self._machine is not None:
            await self._machine.stop()

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        """Run a command line in the guest's shell, and return its output and status.

        :raises TimeoutError: If the command exceeds the time limit.
        """
        run = await self.vm.run(
            command,
            shell=True,
            cwd=cwd or self.task_env_config.workdir,
            env=self._merge_env(env),
            timeout=timeout_sec,
            user=self._resolve_user(user),
            capture_limit=CAPTURE_LIMIT,
        )
        stdout, stderr = (data.decode(errors="replace") for data in (run.stdout, run.stderr))
        if callback := self._output_callback():
            await callback(stdout, "stdout")
            await callback(stderr, "stderr")
        code = status(run.returncode, None)
        return ExecResult(stdout=stdout or None, stderr=stderr or None, return_code=code)

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        """Copy a file into the machine."""
        await self.vm.put(source_path, target_path)

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        """Copy the content of a folder into a folder of the machine."""
        await self.vm.put(f"{source_dir}/.", f"{target_dir}/")

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        """Copy a file of the machine to the host."""
        Path(target_path).parent.mkdir(parents=True, exist_ok=True)
        await self.vm.get(source_path, target_path)

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        """Copy the content of a folder of the machine into a folder of the host."""
        await self.vm.get(f"{source_dir}/.", target_dir)
