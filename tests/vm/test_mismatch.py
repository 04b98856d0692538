"""An image whose daemon was built from another schema."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from microvm.errors import BUILD_AGAIN
from microvm.wire import codec
from microvm_image import programs
from microvm_image.build import build


def test_both_sides_are_shown_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = tmp_path / "guest"
    shutil.copytree(programs.sources(), guest)
    header = guest / "protocol.h"
    theirs = "0123456789abcdef"
    text, count = re.subn(r"(_SCHEMA_DIGEST 0x)\w{16}ULL", rf"\g<1>{theirs}ULL", header.read_text())
    assert count == 1
    header.write_text(text)
    monkeypatch.setattr(programs, "sources", lambda: guest)
    image = build(output=tmp_path / "image")
    command = [sys.executable, "-m", "microvm", "run", "--cold", "--image", str(image.path), "true"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 125
    assert result.stderr.splitlines()[-1] == (
        f"microvm: the host speaks version {codec.VERSION} of the protocol, schema "
        f"{codec.DIGEST:016x}; the guest speaks version {codec.VERSION}, schema {theirs}: the same "
        f"version, of another schema ({BUILD_AGAIN})"
    )
