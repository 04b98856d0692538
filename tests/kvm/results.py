"""The results of the test files, stored below build/, so that an interrupted run can continue."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of a test file: the exit status of pytest, its counts, and its duration."""

    name: str
    status: int
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, name: str, status: int, seconds: float, output: str) -> FileResult:
        """Return the result, parsed from the last line of pytest's output."""
        last = output.rstrip().rpartition("\n")[2]
        found = {word: int(count) for count, word in _COUNT.findall(last)}
        failed = found.get("failed", 0) + found.get("error", 0)
        skipped = found.get("skipped", 0)
        return cls(name, status, round(seconds, 1), found.get("passed", 0), failed, skipped)

    @property
    def is_good(self) -> bool:
        """True if at least one test passed, and none failed."""
        return self.status == 0 and self.passed > 0

    def __str__(self) -> str:
        counts = f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"
        verdict = "ok    " if self.is_good else "FAILED"
        return f"{verdict} {self.name}: {counts}, {self.seconds:.0f} s"


@dataclass(frozen=True, slots=True)
class FileResults:
    """The stored results of one state of the checkout: for each test file, a result and output."""

    folder: Path

    def recall(self, name: str) -> FileResult | None:
        """Return the stored result of a test file that passed; None if it has to run."""
        try:
            found = FileResult(**json.loads(self._path(name, "json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.is_good else None

    def store(self, result: FileResult, output: str) -> Path:
        """Store a result and the output of pytest. Return the path of the output."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(result.name, "txt")
        path.write_text(output)
        self._path(result.name, "json").write_text(json.dumps(asdict(result)))
        return path

    def _path(self, name: str, suffix: str) -> Path:
        return self.folder / f"{name.replace('/', '-')}.{suffix}"
