"""Rung A: the daemon's decoders as they are shipped, under libFuzzer with ASan and UBSan.

What is built here serves rung B, too, and tells how much of the decoders the corpus reaches.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
from hypothesis import Phase, given, settings
from tests.support import encoders, vectors

from microvm.wire import codec
from microvm_proto.resolve import read_schema

from .. import report
from ..outcome import Outcome
from ..report import corpus
from ..settings import SETTINGS
from ..strategies import Example, examples
from . import coverage

GUEST = report.ROOT / "guest"
NATIVE = Path(__file__).parent

_FLAGS = f"-std=c11 -D_DEFAULT_SOURCE -g -Wall -Wextra -Wconversion -Werror -I{GUEST} -I{NATIVE}"
_SANITIZED = "-O1 -DWITH_ASAN -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
_DECODERS = [NATIVE / "replay.c", GUEST / "session.c", GUEST / "stream.c"]

LONGEST = 4096
"""Bytes of a mutated input; the corpus has the few longer ones that matter."""

_EXAMPLES = 100
"""Of the strategies, that libFuzzer begins with."""


def build(out: Path, compiler: str, flags: str, *more: str) -> Path:
    """Compile the decoders, and what they are run by, into `out`.

    :raises FileNotFoundError: there is no such compiler.
    """
    again = out.parent / "again.h"
    again.write_text(_again())
    sources = [*_DECODERS, *(NATIVE / name for name in more)]
    command: list[str | Path] = [
        compiler,
        *_FLAGS.split(),
        *flags.split(),
        f"-I{out.parent}",
        "-o",
        out,
        *sources,
    ]
    subprocess.run(command, check=True, timeout=120)
    return out


def _again() -> str:
    """C that encodes what has been decoded."""
    cases = encoders.cases(
        read_schema(report.SCHEMA),
        header="frame->header",
        body="frame->body",
        into="out",
        version="version",
    )
    return (
        '#include "stream.h"\n\n'
        "static size_t again(uint8_t *out, uint32_t version, const struct frame *frame)\n{\n"
        "\tsize_t encoded = 0;\n\n\tswitch (frame->header.type) {\n"
        f"{cases}\t}}\n\treturn encoded;\n}}\n"
    )


def run(seconds: float, seed: int) -> Outcome:
    """Fuzz for so long: the corpus first, then what comes of it, the vectors and the strategies.

    An input that breaks something lands in the corpus, and so does one that reaches code which
    nothing in the corpus reaches.

    :raises FileNotFoundError: clang is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder))
        began = time.monotonic()
        found = fuzzer.replay() or fuzzer.fuzz(seconds, seed)
        took = time.monotonic() - began
        kept = [] if found else keep_what_reaches_more(fuzzer.grown, Path(folder))
    notes = f"{len(kept)} new in the corpus" if kept else ""
    return Outcome("A", fuzzer.executions, fuzzer.frames, took, seed, tuple(found), notes)


def keep_what_reaches_more(inputs: Path, folder: Path) -> list[Path]:
    """Copy what reaches a line or a branch that nothing in the corpus does into the corpus."""
    meter = coverage.Meter(folder)
    now = meter.measure(corpus())
    kept = []
    for path in sorted(inputs.iterdir()) if now.missed else ():
        more = meter.measure([path]).reached - now.reached
        if more:
            kept.append(report.keep(path.read_bytes(), "reaches more"))
            now = coverage.Coverage(now.places, now.reached | more)
    return kept


class Fuzzer:
    """A libFuzzer binary, and the folders it works in.

    :ivar executions: inputs that it has run.
    :ivar frames: frames that the decoders have taken or refused, whatever the number of cuts.
    :ivar grown: the folder of the inputs that libFuzzer has made and keeps.
    """

    def __init__(self, folder: Path) -> None:
        """Build it."""
        self._binary = build(folder / "fuzzer", "clang", _SANITIZED, "fuzzer.c")
        self._seeds, self.grown = folder / "seeds", folder / "grown"
        self._broken = folder / "broken"
        for each in (self._seeds, self.grown, self._broken):
            each.mkdir()
        self.executions = 0
        self.frames = 0

    def replay(self) -> list[str]:
        """Run the corpus as it is; return what breaks."""
        return self._run(300, *corpus())

    def fuzz(self, seconds: float, seed: int) -> list[str]:
        """Mutate for so long; return what breaks."""
        for number, data in enumerate(seeds(seed)):
            (self._seeds / f"{number}.bin").write_bytes(data)
        return self._run(
            seconds + 120,
            f"-max_total_time={max(1, round(seconds))}",
            f"-seed={seed % 2**31 or 1}",
            f"-max_len={LONGEST}",
            "-timeout=20",
            self.grown,
            report.CORPUS,
            self._seeds,
        )

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
        found = []
        for artifact in sorted(self._broken.iterdir()):
            data = artifact.read_bytes()
            path = report.keep(data, what)
            found.append(f"{what}: {path.name}\n{report.explained(data)}")
        # libFuzzer leaves nothing of a file that it was given: that is in the corpus already.
        if not found and (given := re.findall(r"^Running: (\S+)", said, re.MULTILINE)):
            path = Path(given[-1])
            found.append(f"{what}: {path.name}\n{report.explained(path.read_bytes())}")
        return found or [what]


def seeds(seed: int) -> Iterator[bytes]:
    """Yield what to begin with: every vector behind a hello, and examples of the strategies."""
    hello = codec.Hello(codec.VERSION, codec.DIGEST, codec.MAX_BODY, 1).encode()
    for vector in vectors.load(vectors.COMMITTED):
        yield (hello if vector.sender == "host" else b"") + vector.frame
    drawn: list[Example] = []

    @hypothesis.seed(seed)
    @settings(SETTINGS, max_examples=_EXAMPLES, database=None, phases=[Phase.generate])
    @given(example=examples())
    def draw(example: Example) -> None:
        drawn.append(example)

    draw()
    yield from (hello + example.data for example in drawn)
