"""The daemon's decoders as they are shipped, under libFuzzer with ASan and UBSan."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support import vectors

from .. import report
from ..disagreement import Disagreement
from ..frames import HELLO
from ..report import corpus
from ..strategies import drawn, examples
from .build import build

_SANITIZED = "-O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"

LONGEST = 4096
"""Bytes of a mutated input; the corpus has the few longer ones that matter."""

_DEADLINE = 600.0
"""Seconds that all of the corpus may take, and anything beside the time to fuzz."""

_EXAMPLES = 100
"""The examples of the strategies with which libFuzzer begins."""


class Fuzzer:
    """A libFuzzer binary, and the folder it works in.

    :ivar executions: inputs that it has run.
    :ivar frames: frames that the decoders have taken or refused, whatever the number of cuts.
    """

    def __init__(self, folder: Path) -> None:
        """Build it."""
        self._folder = folder
        self._binary = build(folder / "fuzzer", "clang", _SANITIZED)
        self._broken = folder / "broken"
        self._broken.mkdir()
        self.executions = 0
        self.frames = 0

    def fuzz(self, seconds: float, seed: int) -> None:
        """Run the corpus as it is, then mutate it, the vectors and examples for so long.

        :raises Disagreement: something breaks; its bytes are in the corpus.
        """
        self._run(*corpus())
        begin = self._folder / "seeds"
        begin.mkdir()
        for vector in vectors.load(vectors.COMMITTED):
            before = HELLO if vector.sender == "host" else b""
            (begin / f"{vector.sender}-{vector.name}").write_bytes(before + vector.frame)
        for number, example in enumerate(drawn(examples(HELLO), _EXAMPLES, seed)):
            (begin / f"{number}").write_bytes(example.data)
        self._run(
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={seed or 1}",
            f"-max_len={LONGEST}",
            "-timeout=20",
            begin,  # where libFuzzer keeps what it makes
            report.CORPUS,
            seconds=seconds,
        )

    def _run(self, *arguments: str | Path, seconds: float = 0.0) -> None:
        ran = subprocess.run(
            [self._binary, f"-artifact_prefix={self._broken}/", "-print_final_stats=1", *arguments],
            capture_output=True,
            check=False,
            timeout=seconds + _DEADLINE,
        )
        said = ran.stderr.decode(errors="replace")
        self.executions += _sum("stat::number_of_executed_units", said)
        self.frames += _sum("frames", said)
        if ran.returncode:
            raise self._finding(said)

    def _finding(self, said: str) -> Disagreement:
        """Keep what broke, and describe it."""
        summary = re.search(r"Assertion (.*) failed|^SUMMARY: (.*)$", said, re.MULTILINE)
        what = re.sub(r"/\S*/", "", summary[0] if summary else said[-300:])
        broken = [report.keep(each.read_bytes(), what) for each in sorted(self._broken.iterdir())]
        # libFuzzer leaves nothing of a file that it was given: that is in the corpus already.
        broken = broken or [Path(re.findall(r"^Running: (\S+)", said, re.MULTILINE)[-1])]
        shown = [f"{path.name}\n{report.explained(path.read_bytes())}" for path in broken]
        return Disagreement(what, "\n".join(shown))


def _sum(name: str, said: str) -> int:
    return sum(map(int, re.findall(rf"^{name}: *(\d+)$", said, re.MULTILINE)))
