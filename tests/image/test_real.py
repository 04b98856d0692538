"""Real parts: the distribution's packages, and Alpine where MICROVM_ROOTFS has it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

import microvm_image
from microvm import arch
from microvm.progress import LineReporter, NullReporter
from microvm_image import kernel, rootfs
from microvm_image.build import build
from microvm_image.sources.busybox import Busybox

ROOTFS = os.environ.get("MICROVM_ROOTFS")  # before the tests' own environment hides it

needs_apt = pytest.mark.skipif(not shutil.which("apt-get"), reason="apt-get is not installed")
needs_alpine = pytest.mark.skipif(not ROOTFS, reason="MICROVM_ROOTFS is not set")


@needs_apt
def test_the_distributions_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    found = kernel.find(arch.find(), None, LineReporter())
    assert "cloud" in found.version
    monkeypatch.setattr(subprocess, "Popen", None)
    monkeypatch.setattr(subprocess, "run", _no_such_program)
    assert kernel.find(arch.find(), None, NullReporter()) == found


def _no_such_program(*_: object, **__: object) -> None:
    raise FileNotFoundError


@needs_apt
def test_the_distributions_busybox() -> None:
    base = Busybox.fetch(arch.find(), NullReporter())
    assert base.name.startswith("busybox-1.")
    assert base.sha256 == hashlib.sha256(base.binary).hexdigest()
    assert {"bin/sh", "bin/ls"} <= set(base.applets)
    names = [entry.name for entry in base.entries()]
    assert "etc/passwd" in names
    assert len(names) == len(set(names))


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
    base = rootfs.find(arch.find(), Path(ROOTFS), None, NullReporter())
    entries = {entry.name: entry for entry in base.entries()}
    assert entries["etc/alpine-release"].data == b"3.20.3\n"
    assert entries["tmp"].mode & 0o7777 == 0o1777
    assert build(rootfs=Path(ROOTFS), kernel=kernel).manifest.base == "alpine-3.20.3"
