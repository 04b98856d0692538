"""Tests on hosts that lack a feature: the launcher reports the layer, and the others hold."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.confined import SYSTEM, Confined, confined

Program = Callable[[str], Path]
Prefix = Sequence[str]

UID = ["--uid", str(0x7C000000)]

#: These numbers are equal on all processors.
LANDLOCK_CREATE_RULESET = 444
OPEN_TREE = 428

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to lack")
NAMESPACES = ["pid", "net", "ipc", "uts", "mount"]
OTHERS = ["ids", "limits", "landlock", "seccomp"]


def holding(result: Confined) -> set[str]:
    """Return the layers that hold for a program that was executed."""
    assert (result.failure, result.code) == ("", 0), result
    return {name for name, holds in result.layers.items() if holds}


def privileged(*lost: str) -> list[str]:
    """Return a prefix that runs as root without some capabilities, as in a container."""
    without = ",".join(f"-{name}" for name in lost)
    return [shutil.which("setpriv") or "setpriv", f"--bounding-set={without}", "--inh-caps=-all"]


def shell(script: str, *before: str) -> list[str]:
    """Return a prefix that runs a script first."""
    return [*before, "/bin/sh", "-ec", f'{script}; exec "$@"', "sh"]


def own_mounts(script: str) -> list[str]:
    """Return a prefix that runs a script in a new mount namespace."""
    return shell(script, "unshare", "--mount")


def test_with_closed_standard_streams(launcher: Path) -> None:
    prefix = shell("exec 0<&- 1>&- 2>&-")
    program = ["/bin/sh", "-c", ": <&0 && : >&1 && : >&2"]
    assert {*OTHERS, *NAMESPACES} <= holding(confined(launcher, SYSTEM, program, prefix=prefix))


@only_root
def test_root_of_a_container(launcher: Path) -> None:
    options = [*UID, *SYSTEM]
    result = confined(launcher, options, ["/bin/true"], prefix=privileged("sys_admin"))
    assert holding(result) == {*OTHERS}
    assert "net no Operation not permitted" in result.status


@only_root
def test_root_of_a_namespace_with_few_ids_becomes_nobody(launcher: Path) -> None:
    """As in a container whose user namespace maps only a few ids."""
    prefix = ["unshare", "--user", "--map-users=0,0,65536", "--map-groups=0,0,65536"]
    program = ["/usr/bin/id", "-u"]
    result = confined(launcher, [*UID, *SYSTEM], program, prefix=prefix)
    assert "ids no Invalid argument" in result.status
    assert result.output == "65534\n"
    assert result.code == 0


@only_root
def test_root_of_a_namespace_with_one_id_keeps_it(launcher: Path) -> None:
    """The namespace maps no id of nobody, and root lacks capabilities."""
    prefix = ["unshare", "--user", "--map-root-user"]
    program = ["/bin/sh", "-c", "id -u; grep CapEff /proc/self/status"]
    options = [*UID, *SYSTEM, "--without", "mount", "--without", "landlock", "--without", "seccomp"]
    result = confined(launcher, options, program, prefix=prefix)
    assert "ids no Operation not permitted" in result.status
    assert result.output.split() == ["0", "CapEff:", "0" * 16]


def test_host_without_user_namespaces(launcher: Path, prefix: Prefix) -> None:
    forbid = "echo 0 >/proc/sys/user/max_user_namespaces"
    inside = [*prefix, *shell(forbid, "unshare", "--user", "--map-root-user")]
    result = confined(launcher, SYSTEM, ["/bin/true"], prefix=[*inside, *privileged("sys_admin")])
    assert holding(result) == {*OTHERS}
    assert "user no No space left on device" in result.status


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_kernel_without_landlock(launcher: Path, program: Program, error: int) -> None:
    prefix = [str(program("lacking")), str(error), str(LANDLOCK_CREATE_RULESET), "--"]
    result = confined(launcher, SYSTEM, ["/bin/true"], prefix=prefix)
    assert holding(result) == {"user", "ids", "limits", "seccomp", *NAMESPACES}
    assert f"landlock no {os.strerror(error)}" in result.status


def test_a_kernel_without_new_mounts(launcher: Path, program: Program) -> None:
    prefix = [str(program("lacking")), str(errno.ENOSYS), str(OPEN_TREE), "--"]
    result = confined(launcher, SYSTEM, ["/bin/true"], prefix=prefix)
    assert "mount no Function not implemented" in result.status
    assert holding(result) == {"user", *OTHERS, *NAMESPACES} - {"mount"}


@only_root
def test_a_proc_that_is_covered_in_parts(launcher: Path) -> None:
    """As in containers, where a user namespace may not mount another /proc."""
    covers = "mount -t tmpfs none /proc/tty; mount --bind -o ro /proc/sys /proc/sys"
    user = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    result = confined(launcher, SYSTEM, ["/bin/true"], prefix=[*own_mounts(covers), *user])
    assert holding(result) == {"user", *OTHERS, *NAMESPACES}


@only_root
def test_layers_hold_for_a_controller_in_a_pid_namespace(launcher: Path) -> None:
    """The /proc of the controller is still that of the host's namespace."""
    script = (
        "import sys; from pathlib import Path; from tests.support.confined import SYSTEM, confined;"
        "print(confined(Path(sys.argv[1]), SYSTEM, ['/bin/echo', 'here']))"
    )
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", script, str(launcher)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "output='here\\n'" in said
    assert "'seccomp': True" in said
    assert "'mount': True" in said
