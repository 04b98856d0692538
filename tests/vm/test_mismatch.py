"""Tests of images whose programs were built from other schemas."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.target import build
from tests.support.target import name as arch_name

from microvm import MicroVM
from microvm.errors import BUILD_AGAIN
from microvm.images import Image, readymade
from microvm.images.readymade import ReadyMade
from microvm.progress import NullReporter
from microvm.wire import codec
from microvm_image import image_removal, programs

pytestmark = pytest.mark.thorough

THEIRS = "0123456789abcdef"


def use_other(header: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let images be built with programs that have another digest of the schema in this header."""
    guest = tmp_path / "guest"
    shutil.copytree(programs.sources(), guest)
    text, count = re.subn(
        r"(_SCHEMA_DIGEST 0x)\w{16}ULL", rf"\g<1>{THEIRS}ULL", (guest / header).read_text()
    )
    assert count == 1
    (guest / header).write_text(text)
    monkeypatch.setattr(programs, "sources", lambda: guest)


def other(header: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Build such an image, and return its path."""
    use_other(header, tmp_path, monkeypatch)
    return str(build(output=tmp_path / "image").path)


def microvm(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "microvm", *arguments]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=120, check=False
    )


def test_mismatch_shows_both_versions_and_a_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = other("protocol.h", tmp_path, monkeypatch)
    result = microvm("run", "--cold", "--image", image, "true")
    assert result.returncode == 125
    assert result.stderr.splitlines()[-1] == (
        f"microvm: the host speaks version {codec.VERSION} of the protocol, schema "
        f"{codec.DIGEST:016x}; the guest speaks version {codec.VERSION}, schema {THEIRS}: the same "
        f"version, of another schema ({BUILD_AGAIN})"
    )


def test_image_of_another_file_protocol_runs_commands_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = other("files.h", tmp_path, monkeypatch)
    says = (
        f"cannot transfer files: the image was built by another version of microvm ({BUILD_AGAIN})"
    )
    result = microvm("run", "--cold", "--image", image, "--copy", __file__, "true")
    assert (result.returncode, result.stderr.splitlines()[-1]) == (125, f"microvm: {says}")
    job = json.dumps({"argv": ["echo", "ran"], "collect": ["/etc/passwd"]})
    result = microvm("map", "--cold", "--image", image, "-", given=job)
    done = json.loads(result.stdout)
    assert (done["status"], done["stdout"], done["error"]) == (125, "ran\n", says)


async def test_ready_made_image_of_another_schema_is_renewed(
    with_python: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, arch = ReadyMade((str(with_python.path),), (), ("python3",), ("true",)), arch_name()
    monkeypatch.setitem(readymade.IMAGES, "renewed", made)
    with pytest.MonkeyPatch.context() as patch:
        use_other("protocol.h", tmp_path, patch)
        assert readymade.find("renewed", NullReporter(), arch).manifest.schema == THEIRS
    monkeypatch.setitem(readymade.IMAGES, "renewed", made._replace(sources=()))
    said: list[str] = []
    async with MicroVM("renewed", arch=arch, cold=True, notify=said.append) as vm:
        assert (await vm.run(["python3", "-c", "print(1)"])).stdout == b"1\n"
    assert said == ["image renewed: renewed, because microvm has changed"]
    image_removal.remove("renewed")
