"""The environment for mini-SWE-agent, whose commands run in a machine."""

from __future__ import annotations

from subprocess import STDOUT
from typing import Any

from microvm.errors import ExecError, UsageError
from microvm.frameworks.resources import CAPTURE_LIMIT
from microvm.frameworks.versions import supported
from microvm.sync import MicroVM

with supported("mini-swe-agent"):
    from minisweagent.environments.local import LocalEnvironment
    from minisweagent.utils.serialize import recursive_merge
    from pydantic import BaseModel

_SYSTEM = ("system", "node", "release", "version", "machine")
_SHOW_SYSTEM = "uname -s; uname -n; uname -r; uname -v; uname -m"


class MicroVMEnvironmentConfig(BaseModel):
    """Keys of the section `environment` in the agent's configuration.

    :ivar cwd: Folder in which commands run.
    :ivar env: Environment variables of the commands.
    :ivar timeout: Maximum time of a command in seconds.
    """

    image: str = "python"
    memory: str = "512M"
    cpus: int = 1
    disk: str = "0"
    cwd: str = "/root"
    env: dict[str, str] = {}
    timeout: int = 30


class MicroVMEnvironment(LocalEnvironment):
    """An environment with a machine of its own, which `cleanup` deletes."""

    config: MicroVMEnvironmentConfig

    def __init__(
        self, *, config_class: type[BaseModel] = MicroVMEnvironmentConfig, **options: Any
    ) -> None:
        """Start the machine. The options are those of `MicroVMEnvironmentConfig`."""
        super().__init__(config_class=config_class, **options)
        given = self.config
        self.vm = MicroVM(given.image, memory=given.memory, cpus=given.cpus, disk=given.disk)
        self.vm.start()

    def execute(
        self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None
    ) -> dict[str, Any]:
        """Run a command line in the guest's shell, and return its output and status.

        The status of a command that cannot be started or exceeds its time limit is -1.

        :raises Submitted: If the command says that the agent has finished.
        :raises MachineError: If the machine has failed.
        """
        try:
            run = self.vm.run(
                action.get("command", ""),
                shell=True,
                stderr=STDOUT,
                cwd=cwd or self.config.cwd,
                env=self.config.env,
                timeout=timeout or self.config.timeout,
                capture_limit=CAPTURE_LIMIT,
            )
        except (ExecError, UsageError) as error:  # the model can try another command
            written: bytes = getattr(error, "stdout", None) or b""
            return {
                "output": written.decode(errors="replace"),
                "returncode": -1,
                "exception_info": f"An error occurred while executing the command: {error}",
                "extra": {"exception_type": type(error).__name__, "exception": str(error)},
            }
        output = run.stdout.decode(errors="replace")
        result = {"output": output, "returncode": run.returncode, "exception_info": ""}
        self._check_finished(result)
        return result

    def get_template_vars(self, **variables: Any) -> dict[str, Any]:
        """Return variables for the prompts: the configuration, and the guest's operating system."""
        shown = self.vm.run(_SHOW_SYSTEM, shell=True, text=True, check=True).stdout.splitlines()
        system = dict(zip(_SYSTEM, shown, strict=True))
        merged: dict[str, Any] = recursive_merge(self.config.model_dump(), system, variables)
        return merged

    def cleanup(self) -> None:
        """Stop the machine."""
        self.vm.stop()

    def __del__(self) -> None:
        if hasattr(self, "vm"):
            self.vm.stop()
