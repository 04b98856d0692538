"""Tests of `microvm confinement`, as root and as an unprivileged user."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.ordinary import USER, as_user

from microvm.cli.verbs.confinement import confinement
from microvm.errors import ConfinementError
from microvm.qemu import launch
from microvm.qemu.command_line import QemuConfig
from microvm.qemu.confinement import LAYERS, launcher_options
from microvm.qemu.confinement_probe import probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="microvm-test-", dir="/tmp") as name:
        if os.geteuid() == 0:
            os.chown(name, USER, USER)
        yield Path(name)


@pytest.mark.usefixtures("_leakless")
def test_each_layer_is_tried() -> None:
    assert list(probe()) == [layer.name for layer in LAYERS]


async def test_probe_finds_the_layers_of_a_machine(configure: Callable[..., QemuConfig]) -> None:
    launched = launch.launch(configure())
    try:
        status = await launched.child.started()
    finally:
        launched.kill()
    has = {name: each.holds for name, each in status.results.items()}
    assert {name: each.holds for name, each in probe().items()} == has


def test_ordinary_user_has_the_layers_of_root(home: Path) -> None:
    environment = {**os.environ, "MICROVM_CACHE": str(home), "TMPDIR": str(home)}
    command = as_user(sys.executable, "-m", "microvm", "confinement", "--json")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    theirs = {each["layer"]: each["holds"] for each in json.loads(done.stdout)["layers"]}
    ours = {name: each.holds for name, each in probe().items()}
    # Do not compare two layers: root needs no user namespace, and an ordinary user can create
    # cgroups only under systemd.
    some = {"user": True, "cgroup": True}
    assert {**ours, **some} == {**theirs, **some}


def test_missing_layer_has_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(confinement)
    assert (result.exit_code, "require starts machines here" in result.output) == (0, True)
    assert "privileges: QEMU has no capabilities, and gains none by set-user-ID" in result.output

    def without(*args: Any, **more: Any) -> list[str]:
        return [*launcher_options(*args, **more), "--without", "landlock", "--without", "mount"]

    monkeypatch.setattr(launch, "launcher_options", without)
    result = CliRunner().invoke(confinement)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    after = lines[lines.index("no landlock: disabled") + 1]
    assert (
        after == "    boot a kernel with Landlock: /sys/kernel/security/lsm must contain `landlock`"
    )
    assert lines[-1] == (
        "--confinement=require starts none here: no landlock (disabled) and no mount (disabled)"
    )
    said = json.loads(CliRunner().invoke(confinement, ["--json"]).output)
    assert (said["require"], said["missing"]) == (
        False,
        ["no landlock (disabled) and no mount (disabled)"],
    )
    assert [each["layer"] for each in said["layers"]] == [layer.name for layer in LAYERS]
    assert all(each["help"] for each in said["layers"] if not each["holds"])


@pytest.mark.usefixtures("_leakless")
def test_probe_fails_if_the_program_does_not_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = shutil.which("yes")
    monkeypatch.setattr("microvm.qemu.confinement_probe.shutil.which", lambda _: endless)
    monkeypatch.setattr("microvm.qemu.confinement_probe._TIMEOUT", 0.2)
    with pytest.raises(ConfinementError, match="did not exit within"):
        probe()
