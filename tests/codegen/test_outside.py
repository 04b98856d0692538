"""Tests of an external backend, as docs/backends.md describes it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .common import ROOT

pytestmark = pytest.mark.thorough

DOCUMENT = ROOT / "docs/backends.md"


def test_installed_backend_of_the_document_works(bare: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "toml", "toml", "csv"]
    module, project, output, written = (text for _, text in blocks)
    (tmp_path / "csv_backend.py").write_text(module)
    (tmp_path / "pyproject.toml").write_text(project)
    schema = (ROOT / "examples/sensor/sensor.toml").read_text()
    (tmp_path / "sensor.toml").write_text(schema + output)

    target = tmp_path / "installed"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    quietly = ["--no-deps", "--no-build-isolation", "--no-index", f"--target={target}"]
    subprocess.run([*pip, *quietly, tmp_path], check=True)
    environment = {"PYTHONPATH": str(target)}
    subprocess.run(
        [bare / "microvm-proto", "gen", "sensor.toml"], cwd=tmp_path, env=environment, check=True
    )
    assert (tmp_path / "fields.csv").read_text() == written
