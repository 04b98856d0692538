"""The seeded faults of the model, each of which a check must find."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from microvm_proto.resolve import read_schema

from .spin import CHECKS, Check, SearchResult, Spin


@dataclass(frozen=True, slots=True)
class Fault:
    """A text of one file of the model or of the schema, and what replaces it.

    :ivar check: The check that finds the fault.
    :ivar breaks: The property that the fault breaks, in words.
    """

    name: str
    file: str
    old: str
    new: str
    check: Check
    breaks: str

    def find(self, folder: Path) -> SearchResult:
        """Search for the fault, in files that are written into the folder."""
        source = self.check.source
        if self.file != source.name:
            return Spin(read_schema(source), folder, (self.file, self.old, self.new)).find(
                self.check
            )
        text = source.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {source.name} does not contain the text once")
        changed = folder / source.name
        changed.write_text(text.replace(self.old, self.new))
        return Spin(read_schema(changed), folder).find(self.check)


def faults() -> list[Fault]:
    """Return all seeded faults."""
    checks = {check.name: check for check in CHECKS}
    rows = tomllib.loads(Path(__file__).with_name("faults.toml").read_text())["fault"]
    return [Fault(**{**row, "check": checks[row["check"]]}) for row in rows]
