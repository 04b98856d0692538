"""A command whose output a test reads."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def captured(
    command: Sequence[str | bytes | Path], *, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command, and return its output as text, and its status."""
    return subprocess.run(command, capture_output=True, text=True, check=check, **options)
