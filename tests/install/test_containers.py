"""Tests of a container image that is built as docs/containers.md describes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.captured import captured

DOCUMENT = Path(__file__).parents[2] / "docs/containers.md"
BASE = "docker.io/library/debian:trixie"

#: Limits, because the default limits of buildah exceed the permitted ones on some hosts.
LIMITS = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.version_info[:2] != (3, 13), reason="wheels are for Debian 13's Python"),
    pytest.mark.skipif(os.geteuid() != 0, reason="without an engine, only root changes its root"),
]

Buildah = Callable[..., str]


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[Buildah]:
    """A function that runs buildah with a storage of this test."""
    store = tmp_path / "store"  # needs a gigabyte or more
    places = ["--root", str(store), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]
    environment = os.environ | {"BUILDAH_ISOLATION": "chroot"}

    def run(*arguments: str) -> str:
        done = captured(["buildah", *places, *arguments], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    yield run
    shutil.rmtree(store)


def test_container_user_gets_clones(buildah: Buildah, dist: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", "trixie", "base.tar"],
        cwd=tmp_path,
        check=True,
    )
    (tmp_path / "base").write_text("FROM scratch\nADD base.tar /\n")
    buildah("build", "--file", "base", "--tag", BASE, ".")
    (text,) = re.findall(r"^```dockerfile\n(.*?)^```$", DOCUMENT.read_text(), re.M | re.S)
    (tmp_path / "Dockerfile").write_text(text)
    (tmp_path / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    mounts = "--volume", f"{dist}:/wheels:ro", "--volume", f"{tmp_path}/pip.conf:/etc/pip.conf:ro"
    buildah("build", *LIMITS, *mounts, "--tag", "sandbox", ".")
    container = buildah("from", *LIMITS, "localhost/sandbox")
    (command,) = re.findall(r"^CMD \[(.*)\]$", text, re.MULTILINE)
    assert buildah("run", container, "--", *re.findall(r'"(.*?)"', command)) == "hello"
    script = 'id -un; microvm run -v -- true 2>&1 | grep -c "cloned under"'
    assert buildah("run", container, "--", "sh", "-c", script) == "nobody\n1"
