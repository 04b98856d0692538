"""The schemas that the tests of the generator use, and the types of their fixtures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result

from microvm_proto.faults import FAULTS
from microvm_proto.schema import Schema

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).with_name("fixtures")
FOLDER = Path(__file__).with_name("schemas")
SANDBOXD = ROOT / "protocol/sandboxd.toml"
EVERYTHING = FOLDER / "everything.toml"
TYPES = FOLDER / "types.toml"
GROWN = FOLDER / "grown.toml"
SHORT_PREFIX = FOLDER / "short_prefix.toml"
SCHEMAS = [*sorted(FOLDER.glob("*.toml")), SANDBOXD]
CODES = {fault.name: fault.number for fault in FAULTS}

# The types of the fixtures `run`, `load`, `generated`, `read` and `framed`.
Run = Callable[..., Result]
Load = Callable[[Path], ModuleType]
Generated = Callable[[Path], Path]
Read = Callable[[str], Schema]

every_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
