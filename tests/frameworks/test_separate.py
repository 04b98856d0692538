"""Tests of the adapters for Harbor and NeMo Gym, each in an environment of its own.

Both frameworks require other versions of some packages than the frameworks beside us do.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SESSIONS = Path(__file__).parent / "separate"


@pytest.mark.long
@pytest.mark.parametrize("extra", ["harbor", "nemo-gym"])
def test_session_with_the_framework_installed(extra: str, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    uv = Path(sys.prefix).parent / "bin/uv"
    run(uv, "venv", "--python", ">=3.12", environment)
    run(
        uv, "pip", "install", "--python", environment, "pytest", "--editable", f"{ROOT}[vm,{extra}]"
    )
    session = SESSIONS / f"{extra.replace('-', '_')}_session.py"
    run(environment / "bin/python", session, tmp_path)


def run(*command: str | Path) -> None:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout
