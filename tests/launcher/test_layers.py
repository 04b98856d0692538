"""Tests of each layer alone, as the program sees it, as root and as an unprivileged user."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.confined import SYSTEM, Confined, confined

LAYERS = "user pid net ipc uts mount cgroup ids limits landlock seccomp".split()
BASE = 0x7C000000
ROOT = os.geteuid() == 0

Prefix = Sequence[str]


def without(layers: str) -> list[str]:
    """Return the options that disable all layers except some."""
    return [word for name in LAYERS if name not in layers.split() for word in ("--without", name)]


def with_layers(
    launcher: Path,
    layers: str,
    program: Sequence[str | Path],
    *options: str | Path,
    prefix: Prefix = (),
    descriptors: Sequence[int] = (),
) -> Confined:
    """Run a program with some layers, and check that each holds."""
    result = confined(
        launcher, [*without(layers), *options], program, prefix=prefix, descriptors=descriptors
    )
    assert result.failure == ""
    assert {name for name, holds in result.layers.items() if holds} == {*layers.split()}
    return result


@pytest.mark.parametrize("kind", ["user", "pid", "net", "ipc", "uts"])
def test_program_has_its_own_namespace(launcher: Path, prefix: Prefix, kind: str) -> None:
    layers = kind if kind == "user" else f"user {kind}"
    program = ["/usr/bin/readlink", f"/proc/self/ns/{kind}"]
    result = with_layers(launcher, layers, program, prefix=prefix)
    assert result.output.startswith(f"{kind}:[")
    assert result.output.strip() != str(Path(f"/proc/self/ns/{kind}").readlink())


def test_root_has_only_the_readable_paths(launcher: Path, prefix: Prefix) -> None:
    script = "echo /* /dev/* /proc/*; echo x >/dev/null; cat /dev/fd/0; exec touch /usr/new"
    program = ["/bin/sh", "-c", script]
    options = [*SYSTEM, "--read", "/gone/or/never/there"]
    result = with_layers(launcher, "user mount", program, *options, prefix=prefix)
    first, second = result.output.splitlines()
    held = sorted(name for name in ("/bin", "/lib", "/lib64", "/usr") if Path(name).exists())
    assert first.split() == [
        *sorted([*held, "/dev", "/proc"]),
        "/dev/fd",
        "/dev/null",
        "/proc/self",
    ]
    assert "Read-only file system" in second


@pytest.mark.parametrize("path", ["/new", "/dev/new", "/proc/new", "/proc/self/comm"])
def test_root_has_nothing_writable(launcher: Path, prefix: Prefix, path: str) -> None:
    program = ["/bin/sh", "-c", f": >{path}"]
    result = with_layers(launcher, "user mount", program, *SYSTEM, prefix=prefix)
    assert "Read-only file system" in result.output
    assert result.code == 2


def test_program_has_no_privileges(launcher: Path, prefix: Prefix) -> None:
    result = with_layers(launcher, "user ids", ["/bin/cat", "/proc/self/status"], prefix=prefix)
    status = dict(line.split(":", 1) for line in result.output.splitlines())
    none = "0" * 16
    capabilities = {status[f"Cap{name}"].strip() for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert capabilities == {none}
    assert status["NoNewPrivs"].strip() == "1"


@pytest.mark.skipif(not ROOT, reason="only root has uids to give")
def test_program_of_root_has_its_own_uid(launcher: Path) -> None:
    options = ["--uid", str(BASE), "--group", "107"]
    result = with_layers(launcher, "ids", ["/bin/cat", "/proc/self/status"], *options)
    status = dict(line.split(":", 1) for line in result.output.splitlines())
    own = BASE + result.pid
    assert status["Uid"].split() == status["Gid"].split() == [str(own)] * 4
    assert status["Groups"].split() == ["107"]
    assert status["CapBnd"].strip() == "0" * 16
    assert f"ids ok uid {own}" in result.status


def test_program_has_the_resource_limits(launcher: Path, prefix: Prefix) -> None:
    values = {"file-size": 4096, "address-space": 1 << 30, "open-files": 50, "threads": 9}
    options = [word for each in values.items() for word in ("--limit", "{}={}".format(*each))]
    program = ["/bin/cat", "/proc/self/limits"]
    result = with_layers(launcher, "user limits", program, *options, prefix=prefix)
    limits = {line[:26].strip(): line[26:].split()[:2] for line in result.output.splitlines()}
    assert limits["Max file size"] == ["4096", "unlimited"]  # the controller may raise it
    assert limits["Max address space"] == [str(1 << 30)] * 2
    assert limits["Max open files"] == ["50", "50"]
    assert limits["Max processes"] == ["9", "9"]
    assert limits["Max core file size"] in (["1", "1"], ["0", "0"])
    assert "limits ok core file-size address-space open-files threads" in result.status


def test_too_large_file_is_an_error_without_a_signal(launcher: Path, tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        program = ["/bin/bash", "-c", f"echo much >&{file.fileno()}; echo status $?"]
        options = ["--limit", "file-size=0"]
        result = with_layers(launcher, "limits", program, *options, descriptors=[file.fileno()])
    assert os.strerror(errno.EFBIG) in result.output
    assert "status 1" in result.output


def shared(path: Path) -> Path:
    """Create a file that every user can find, read and write."""
    path.write_text("content\n")
    path.chmod(0o666)
    return path


@pytest.mark.parametrize("layers", ["landlock", "user mount landlock"])
@pytest.mark.parametrize(
    ("option", "mode", "script", "output"),
    [
        ("--file", "rb", "cat /dev/fd/{0}", "content"),
        ("", "rb", "cat /dev/fd/{0}", "cat: /dev/fd/{0}: Permission denied"),
        ("--file", "r+b", ": >/dev/fd/{0}", "cannot create /dev/fd/{0}: {refused}"),
        ("--writable", "r+b", "echo more >/dev/fd/{0}; cat /dev/fd/{0}", "more"),
    ],
)
def test_only_given_files_can_be_opened_again(
    launcher: Path,
    reachable: Path,
    prefix: Prefix,
    layers: str,
    option: str,
    mode: str,
    script: str,
    output: str,
) -> None:
    path = shared(reachable / "file")
    with path.open(mode) as file:
        number = str(file.fileno())
        result = with_layers(
            launcher,
            layers,
            ["/bin/sh", "-c", script.format(number)],
            *SYSTEM,
            *([option, number] if option else []),
            prefix=prefix,
            descriptors=[file.fileno()],
        )
    refused = "Read-only file system" if "mount" in layers else "Permission denied"
    assert result.output.strip().endswith(output.format(number, refused=refused))


@pytest.mark.parametrize("mode", ["rb", "r+b"])
def test_mount_layer_alone_makes_read_paths_unwritable(
    launcher: Path, reachable: Path, prefix: Prefix, mode: str
) -> None:
    """Without Landlock and the filter, so only the mount can refuse to open files for writing."""
    path = shared(reachable / "file")
    with path.open(mode) as file:
        number = str(file.fileno())
        script = f"cat /dev/fd/{number}; : >>/dev/fd/{number}; echo more >&{number}"
        program = ["/bin/bash", "-c", script]
        options = [*SYSTEM, "--file", number]
        result = with_layers(
            launcher, "user mount", program, *options, prefix=prefix, descriptors=[file.fileno()]
        )
    read, opened, written = result.output.splitlines()
    assert read == path.read_text().strip() == "content"
    assert "Read-only file system" in opened
    assert "Bad file descriptor" in written


@pytest.mark.parametrize("layers", ["user mount", "user mount landlock"])
def test_mount_layer_that_is_incomplete_does_not_hold(
    launcher: Path, reachable: Path, prefix: Prefix, layers: str
) -> None:
    """No mount exists of a file that was removed; the layer's other parts apply."""
    path = shared(reachable / "file")
    with path.open("rb") as file:
        path.unlink()
        options = [*without(layers), *SYSTEM, "--file", str(file.fileno())]
        program = ["/bin/sh", "-c", "echo /*"]
        result = confined(launcher, options, program, prefix=prefix, descriptors=[file.fileno()])
    assert "mount no No such file or directory" in result.status
    assert "/etc" not in result.output.split()


def test_unlinked_file_is_not_confused_with_a_present_one(launcher: Path, reachable: Path) -> None:
    path = shared(reachable / "file")
    with path.open("rb") as file:
        number = str(file.fileno())
        path.unlink()
        # The present target of the descriptor's link.
        (reachable / "file (deleted)").write_text("other\n")
        options = [*SYSTEM, "--without", "landlock", "--without", "seccomp", "--file", number]
        program = ["/bin/cat", f"/dev/fd/{number}"]
        result = confined(launcher, options, program, descriptors=[file.fileno()])
    assert any(line.startswith("mount no Stale file handle") for line in result.status)
    assert result.output == "content\n"


def test_memory_that_is_sealed_needs_no_mount(launcher: Path, prefix: Prefix) -> None:
    memory = os.memfd_create("memory", os.MFD_ALLOW_SEALING)
    with os.fdopen(memory, "wb") as file:
        file.write(b"sealed\n")
        file.flush()
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK)
        program = ["/bin/sh", "-c", f"cat /dev/fd/{memory}"]
        options = [*SYSTEM, "--file", str(memory)]
        result = with_layers(
            launcher, "user mount", program, *options, prefix=prefix, descriptors=[memory]
        )
    assert result.output == "sealed\n"


def test_nothing_else_can_be_opened(launcher: Path, prefix: Prefix) -> None:
    program = ["/bin/sh", "-c", "cat </etc/passwd"]
    result = with_layers(launcher, "landlock", program, *SYSTEM, prefix=prefix)
    assert "Permission denied" in result.output
    assert "root:" not in result.output


def test_program_joins_a_cgroup_and_closes_its_descriptor(launcher: Path, prefix: Prefix) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as group, os.fdopen(write, "wb") as procs:
        result = with_layers(
            launcher,
            "user cgroup",
            ["/bin/sh", "-c", "echo /proc/self/fd/*"],
            *("--cgroup", str(write)),
            prefix=prefix,
            descriptors=[write],
        )
        procs.close()
        assert group.read() == b"0"
    assert "cgroup ok with a cgroup namespace" in result.status
    assert f"/proc/self/fd/{write}" not in result.output.split()
