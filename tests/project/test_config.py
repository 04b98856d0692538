"""Tests that docs/config.md contains every option and every variable."""

from __future__ import annotations

import re

from microvm.cli.preset_sources import PREFIX, VARIABLES
from microvm.cli.presets import OPTIONS, variable_of

from .test_layers import REPOSITORY


def test_every_variable_that_the_code_reads_is_named() -> None:
    sources = [path for root in ("host", "image") for path in REPOSITORY.glob(f"{root}/**/*.py")]
    found = {name for path in sources for name in re.findall(r"MICROVM_[A-Z_]+", path.read_text())}
    assert found - {PREFIX, "MICROVM_OPTION"} <= VARIABLES.keys() | set(map(variable_of, OPTIONS))
    assert found >= VARIABLES.keys()
