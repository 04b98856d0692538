"""The daemon's decoders as they are shipped, under libFuzzer with ASan and UBSan."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
from hypothesis import Phase, given, settings
from tests.support import vectors

from .. import report
from ..frames import HELLO
from ..outcome import Outcome
from ..report import corpus
from ..settings import SETTINGS
from ..strategies import Example, examples
from .build import build, measure

_SANITIZED = "-O1 -DWITH_ASAN -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"

LONGEST = 4096
"""Bytes of a mutated input; the corpus has the few longer ones that matter."""

_EXAMPLES = 100
"""The examples of the strategies with which libFuzzer begins."""


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz for so long: the corpus first, then what comes of it, the vectors and the strategies.

    An input that breaks something lands in the corpus, and so does one that reaches code which
    nothing in the corpus reaches.

    :raises FileNotFoundError: clang, gcc or gcovr is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder))
        began = time.monotonic()
        found = fuzzer.replay() or fuzzer.fuzz(seconds, seed)
        took = time.monotonic() - began
        kept = [] if found else fuzzer.keep_what_reaches_more()
    notes = f"{len(kept)} new in the corpus" if kept else ""
    return Outcome(fuzzer.executions, fuzzer.frames, took, tuple(found), notes)


class Fuzzer:
    """A libFuzzer binary, and the folder it works in.

    :ivar executions: inputs that it has run.
    :ivar frames: frames that the decoders have taken or refused, whatever the number of cuts.
    :ivar grown: the folder of the inputs that libFuzzer has made and keeps.
    """

    def __init__(self, folder: Path) -> None:
        """Build it."""
        self._folder = folder
        self._binary = build(folder / "fuzzer", "clang", _SANITIZED, "fuzzer.c")
        self.grown = self._make("grown")
        self._broken = self._make("broken")
        self.executions = 0
        self.frames = 0

    def _make(self, name: str) -> Path:
        path = self._folder / name
        path.mkdir()
        return path

    def replay(self) -> list[str]:
        """Run the corpus as it is; return what breaks."""
        return self._run(300, *corpus())

    def fuzz(self, seconds: float, seed: int) -> list[str]:
        """Mutate for so long; return what breaks."""
        begin = self._make("seeds")
        for number, data in enumerate(seeds(seed)):
            (begin / f"{number}.bin").write_bytes(data)
        return self._run(
            seconds + 120,
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={seed % 2**31 or 1}",
            f"-max_len={LONGEST}",
            "-timeout=20",
            self.grown,
            report.CORPUS,
            begin,
        )

    def keep_what_reaches_more(self) -> list[Path]:
        """Copy what reaches an edge that nothing in the corpus does into the corpus.

        Nothing does when the corpus reaches all that gcovr counts: then what is left are edges of
        the compiler's own, and of the code that replays.
        """
        now = measure(self._folder, corpus())
        if now.is_whole:
            return []
        merged = self._make("merged")
        for path in corpus():
            shutil.copy(path, merged)
        known = set(merged.iterdir())
        self._run(300, "-merge=1", "-use_counters=0", merged, self.grown)
        new = sorted(set(merged.iterdir()) - known)
        return [report.keep(path.read_bytes(), "reaches more") for path in new]

    def _run(self, timeout: float, *arguments: str | Path) -> list[str]:
        ran = subprocess.run(
            [self._binary, f"-artifact_prefix={self._broken}/", *arguments],
            capture_output=True,
            check=False,
            timeout=timeout,
        )
        said = ran.stderr.decode(errors="replace")
        self.executions += sum(map(int, re.findall(r"^Done (\d+) runs", said, re.MULTILINE)))
        self.executions += len(re.findall(r"^Executed ", said, re.MULTILINE))
        self.frames += sum(map(int, re.findall(r"^frames: (\d+)", said, re.MULTILINE)))
        return [] if ran.returncode == 0 else self._findings(said)

    def _findings(self, said: str) -> list[str]:
        """Keep what broke, and describe it."""
        summary = re.search(r"Assertion (.*) failed|^SUMMARY: (.*)$", said, re.MULTILINE)
        what = re.sub(r"/\S*/", "", summary[0] if summary else said[-300:])
        broken = [report.keep(each.read_bytes(), what) for each in sorted(self._broken.iterdir())]
        # libFuzzer leaves nothing of a file that it was given: that is in the corpus already.
        broken = broken or [Path(re.findall(r"^Running: (\S+)", said, re.MULTILINE)[-1])]
        return [f"{what}: {path.name}\n{report.explained(path.read_bytes())}" for path in broken]


def seeds(seed: int) -> Iterator[bytes]:
    """Yield what to begin with: every vector behind a hello, and examples of the strategies."""
    for vector in vectors.load(vectors.COMMITTED):
        yield (HELLO if vector.sender == "host" else b"") + vector.frame
    drawn: list[Example] = []

    @hypothesis.seed(seed)
    @settings(SETTINGS, max_examples=_EXAMPLES, database=None, phases=[Phase.generate])
    @given(example=examples())
    def draw(example: Example) -> None:
        drawn.append(example)

    draw()
    yield from (HELLO + example.data for example in drawn)
