"""Tests with real parts: packages of the distribution, and Alpine's archive in MICROVM_ROOTFS."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

import microvm_image
from microvm import arches
from microvm.errors import ImageError
from microvm.progress import LineReporter, NullReporter
from microvm_image import disk, rootfs
from microvm_image.build import build
from microvm_image.kernel import selection
from microvm_image.source import ImageSource
from microvm_image.sources import busybox, debian
from microvm_image.sources.find import find

pytestmark = pytest.mark.thorough

ROOTFS = os.environ.get("MICROVM_ROOTFS")  # before a fixture removes the variable
CACHE = os.environ.get("MICROVM_CACHE")

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="apt-get is not installed")
needs_alpine = pytest.mark.skipif(not ROOTFS, reason="MICROVM_ROOTFS is not set")


@needs_apt
def test_the_distributions_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = selection.find(arches.find(), None, LineReporter())
    assert "cloud" in found.version
    monkeypatch.setattr(subprocess, "Popen", _no_such_program)
    assert selection.find(arches.find(), None, NullReporter()) == found


def _no_such_program(*_: object, **__: object) -> None:
    raise FileNotFoundError


@needs_apt
def test_the_distributions_busybox() -> None:
    base = busybox.source(arches.find(), NullReporter())
    assert base.name.startswith("busybox-1.")
    with base.tree() as tree:
        entries = {entry.name: entry for entry in tree.entries()}
    assert base.digest == hashlib.sha256(entries["bin/busybox"].data).hexdigest()
    assert {"bin/sh", "bin/ls", "etc/passwd"} <= set(entries)


@needs_apt
def test_an_image_without_alpine(
    kernel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MICROVM_KERNEL", str(kernel))
    monkeypatch.setenv("MICROVM_MIRROR", "http://127.0.0.1:9")
    image = build(report=LineReporter())
    assert image.manifest.base.startswith("busybox-")
    assert capsys.readouterr().err.count("no Alpine archive") == 1
    assert microvm_image.default(report=LineReporter()) == image
    assert capsys.readouterr().err == ""


@needs_alpine
def test_alpine(kernel: Path) -> None:
    assert ROOTFS
    base = rootfs.find(arches.find(), Path(ROOTFS), None, NullReporter())
    with base.tree() as tree:
        assert tree.is_small()
        entries = {entry.name: entry for entry in tree.entries()}
    assert entries["etc/alpine-release"].data == b"3.20.3\n"
    assert entries["tmp"].mode & 0o7777 == 0o1777
    assert build(rootfs=Path(ROOTFS), kernel=kernel).manifest.base == "alpine-3.20.3"


@needs_apt
def test_debian_by_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if CACHE:  # downloaded once, which takes a minute
        monkeypatch.setenv("MICROVM_CACHE", CACHE)
    else:
        monkeypatch.delenv("MICROVM_CACHE")

    def python() -> AbstractContextManager[ImageSource]:
        packages = ["python3"]
        return find("debian:trixie", arches.find(), packages=packages, report=LineReporter())

    with python() as source, source.tree() as tree:
        assert re.search(r"^debian:trixie \(.*\bbase-files=13\..*\bpython3=3\.13", source.pinned)
        interpreter = dict(tree.walk())["usr/bin/python3.13"]
        assert interpreter.size > 1 << 20
        assert interpreter.mode & 0o777 == 0o755
        assert not tree.is_small()
        disk.write(tree, tmp_path / "disk", source.digest)
    subprocess.run(["fsck.erofs", tmp_path / "disk"], check=True, capture_output=True)
    capsys.readouterr()
    with python() as again:
        assert (again.pinned, again.digest) == (source.pinned, source.digest)
    assert "putting" not in capsys.readouterr().err


def refusal(text: str, **options: Any) -> ImageError:
    """Return the error of a source that cannot be used."""
    finding = find(text, arches.find(), report=NullReporter(), **options)
    with pytest.raises(ImageError) as caught, finding:
        pass
    return caught.value


@pytest.mark.parametrize(
    "said",
    ["unable to pick chroot mode automatically", "failed to parse /etc/subuid and /etc/subgid"],
)
def test_debian_without_permissions_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """The error explains the messages of mmdebstrap for a user without a range of ids."""
    program = tmp_path / "mmdebstrap"
    program.write_text(f"#!/bin/sh\necho 'E: {said}' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(debian, "_mirrors", lambda _: [])
    monkeypatch.setattr(debian, "_release", lambda *_: "")
    error = str(refusal("debian:trixie"))
    assert re.search(rf"{said}.*apt install uidmap.*/etc/subuid", error)


@needs_apt
def test_unknown_suite_is_an_error() -> None:
    error = refusal("debian:nosuch")
    assert error.message.startswith("cannot get debian:nosuch: ")
    assert " nosuch Release: does not have a Release file" in error.message
    assert "check the name of the suite" in error.hint


@needs_apt
def test_failure_of_mmdebstrap_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "_mirrors", lambda _: ["no mirror"])
    monkeypatch.setattr(debian, "_release", lambda *_: "")
    error = refusal("debian:trixie")
    (command,) = re.findall(r"^`(.+)` shows more$", error.hint)
    again = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
    assert again.returncode != 0
    assert error.detail.splitlines()[-1] in again.stderr


@pytest.mark.parametrize(
    ("text", "packages", "says"),
    [
        ("debian:../x", [], "not the name of a suite"),
        ("debian:--help", [], "not the name of a suite"),
        ("debian:trixie", ["-o=x"], "not the name of a package"),
        ("debian:trixie", ["a,b"], "not the name of a package"),
        ("alpine", ["python3"], "packages cannot be installed in"),
    ],
)
def test_invalid_packages_are_refused(text: str, packages: list[str], says: str) -> None:
    assert says in str(refusal(text, packages=packages))
