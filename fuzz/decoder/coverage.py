"""How much of the decoders in C is reached, by gcov: lines, and each way of their branches."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import fuzzer

DECODERS = {"session.c", "stream.c", "protocol.h"}
"""The files that count, but for what encodes in them."""

_ENCODERS = ("sandboxd_encode_", "sandboxd_check_", "sandboxd_put")

Place = tuple[str, int] | tuple[str, int, int]
"""A file and a line, and the number of a way that a branch there can take."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The places that there are, and those that were reached."""

    places: frozenset[Place]
    reached: frozenset[Place]

    @property
    def missed(self) -> list[str]:
        """Name the places that were not reached."""
        return [":".join(map(str, place)) for place in sorted(self.places - self.reached)]

    def __str__(self) -> str:
        """Say it in percent."""
        shares = []
        for size, name in ((2, "lines"), (3, "branches")):
            places = {place for place in self.places if len(place) == size}
            share = 100 * len(places & self.reached) // len(places)
            shares.append(f"{share}% of {len(places)} {name}")
        return ", ".join(shares)


class Meter:
    """The decoders, built so that they count."""

    def __init__(self, folder: Path) -> None:
        """Build them.

        :raises FileNotFoundError: gcc is not installed.
        """
        self._folder = folder
        flags = "-O0 --coverage"
        self._binary = fuzzer.build(folder / "counting", "gcc", flags, "fuzzer.c", "main.c")

    def measure(self, inputs: Sequence[Path]) -> Coverage:
        """Run inputs through them, and see what that has reached."""
        for counts in self._folder.glob("*.gcda"):
            counts.unlink()
        command: list[str | Path] = [self._binary, *inputs]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        notes = sorted(path.name for path in self._folder.glob("*.gcda"))
        said = subprocess.run(
            ["gcov", "--json-format", "--branch-probabilities", "--stdout", *notes],
            cwd=self._folder,
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        places: set[Place] = set()
        reached: set[Place] = set()
        for report in said.splitlines():
            for place, count in _counts(json.loads(report)["files"]) if report else ():
                places.add(place)
                if count:
                    reached.add(place)
        return Coverage(frozenset(places), frozenset(reached))


def _counts(files: list[dict[str, Any]]) -> list[tuple[Place, int]]:
    found: list[tuple[Place, int]] = []
    for file in files:
        name = Path(file["file"]).name
        for line in file["lines"] if name in DECODERS else ():
            if line.get("function_name", "").startswith(_ENCODERS):
                continue
            at = (name, line["line_number"])
            found.append((at, line["count"]))
            found += [((*at, n), way["count"]) for n, way in enumerate(line["branches"])]
    return found
