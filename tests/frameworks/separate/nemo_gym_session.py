"""Uses NeMo Gym's provider through the framework's own API. It runs where NeMo Gym is installed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from nemo_gym.sandbox import AsyncSandbox
from nemo_gym.sandbox.providers.base import SandboxCreateError, SandboxSpec, SandboxStatus


async def main(folder: Path) -> None:
    spec = SandboxSpec(
        workdir="/srv",
        env={"A": "1"},
        files={"/srv/a.txt": "one\n"},
        resources={"cpu": 0.5, "memory_mib": 500},
    )
    sandbox = AsyncSandbox({"microvm": {"image": "python", "default_timeout_s": 1}})
    await sandbox.start(spec)
    try:
        assert await sandbox.status() == SandboxStatus.RUNNING
        result = await sandbox.exec("pwd; cat a.txt; echo $A >&2; exit 3")
        assert (result.stdout, result.stderr, result.return_code) == ("/srv\none\n", "1\n", 3)
        result = await sandbox.exec("echo begun; sleep 60", timeout_s=None)
        assert (result.stdout, result.error_type) == ("begun\n", "timeout")
        assert (await sandbox.exec("id -un", user="nobody")).stdout == "nobody\n"
        assert (await sandbox.exec("true", cwd="/absent")).error_type == "sandbox"
        await sandbox.download("a.txt", folder / "new/b.txt")
        assert (folder / "new/b.txt").read_text() == "one\n"
        await sandbox.upload(folder / "new/b.txt", "deep/c.txt")
        assert (await sandbox.exec("cat /srv/deep/c.txt")).stdout == "one\n"
    finally:
        await sandbox.stop()
    with pytest.raises(SandboxCreateError, match="no image"):
        await AsyncSandbox({"microvm": {}}).start(SandboxSpec(image="absent"))
    with pytest.raises(SandboxCreateError, match="/etc/passwd"):
        await AsyncSandbox({"microvm": {}}).start(SandboxSpec(workdir="/etc/passwd/x"))
    with pytest.raises(SandboxCreateError, match="GPU"):
        await AsyncSandbox({"microvm": {}}).start(SandboxSpec(resources={"gpu": 1}))


asyncio.run(main(Path(sys.argv[1])))
