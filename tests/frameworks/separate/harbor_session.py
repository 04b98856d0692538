"""Uses Harbor's environment as a trial does. It runs where Harbor is installed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from harbor.environments.factory import EnvironmentFactory
from harbor.models.task.config import EnvironmentConfig, NetworkMode, NetworkPolicy
from harbor.models.trial.paths import TrialPaths

from microvm.frameworks.harbor import MicroVMTrialEnvironment

PATH = f"{MicroVMTrialEnvironment.__module__}:{MicroVMTrialEnvironment.__name__}"


def made(folder: Path, mode: NetworkMode, **options: object) -> MicroVMTrialEnvironment:
    environment = EnvironmentFactory.create_environment_from_import_path(
        PATH,
        environment_dir=folder,
        environment_name="task",
        session_id="task__1__env",
        trial_paths=TrialPaths(trial_dir=folder / "trial"),
        task_env_config=EnvironmentConfig(cpus=1, memory_mb=500, workdir="/srv", env={"A": "1"}),
        network_policy=NetworkPolicy(network_mode=mode),
        **options,
    )
    assert isinstance(environment, MicroVMTrialEnvironment)
    return environment


async def main(folder: Path) -> None:
    with pytest.raises(ValueError, match="asks for a network"):
        made(folder, NetworkMode.PUBLIC, image="python")
    with pytest.raises(ValueError, match="image=NAME"):
        made(folder, NetworkMode.NO_NETWORK)
    assert made(folder, NetworkMode.PUBLIC, image="python", offline=True)
    environment = made(folder, NetworkMode.NO_NETWORK, image="python")
    source = folder / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep/a.txt").write_text("one\n")
    await environment.start(force_build=False)
    try:
        assert environment.vm.memory == 512 << 20
        result = await environment.exec("pwd; echo $A$B >&2; exit 3", env={"B": "2"})
        assert (result.stdout, result.stderr, result.return_code) == ("/srv\n", "12\n", 3)
        with environment.with_default_user("nobody"):
            assert (await environment.exec("id -un")).stdout == "nobody\n"
        with pytest.raises(TimeoutError):
            await environment.exec("sleep 60", timeout_sec=1)
        await environment.upload_dir(source, "/srv/copy")
        await environment.upload_file(source / "deep/a.txt", "/srv/new/b.txt")
        assert (await environment.exec("cat copy/deep/a.txt new/b.txt")).stdout == "one\none\n"
        assert await environment.is_dir("/srv/copy")
        await environment.download_dir("/srv/copy", folder / "back/dir")
        await environment.download_file("/srv/new/b.txt", folder / "back/file/b.txt")
        assert (folder / "back/dir/deep/a.txt").read_text() == "one\n"
        assert (folder / "back/file/b.txt").read_text() == "one\n"
    finally:
        await environment.stop(delete=True)
    assert environment.vm.pid is None


asyncio.run(main(Path(sys.argv[1])))
