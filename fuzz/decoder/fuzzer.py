"""Fuzzing of the daemon's decoders by libFuzzer, with AddressSanitizer and UBSan."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

from tests.support import vectors

from ..frames import HELLO
from ..report import CORPUS, Disagreement, corpus, explained, keep
from ..strategies import drawn, examples
from .build import build

_SANITIZED = "-O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"

LONGEST = 4096
"""Maximum number of bytes of a mutated input. The corpus contains a few longer ones."""

_DEADLINE = 600.0
"""Maximum number of seconds for the whole corpus, and for all steps besides the fuzzing itself."""

_EXAMPLES = 100  # number of examples of the strategies with which libFuzzer starts


def fuzz(folder: Path, seconds: float, seed: int) -> Counter[str]:
    """Run the corpus, and then mutations of the corpus, of the vectors and of examples.

    :return: Number of "inputs", and of the "frames" in them that were accepted or refused.
    """
    binary = build(folder / "fuzzer", "clang", _SANITIZED)
    begin = folder / "seeds"
    begin.mkdir()
    for vector in vectors.load(vectors.COMMITTED):
        before = HELLO if vector.sender == "host" else b""
        (begin / f"{vector.sender}-{vector.name}").write_bytes(before + vector.frame)
    for number, example in enumerate(drawn(examples(HELLO), _EXAMPLES, seed)):
        (begin / f"{number}").write_bytes(example.data)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-seed={seed or 1}"]
    options += [f"-max_len={LONGEST}", "-timeout=20"]
    # libFuzzer writes new inputs to the first folder.
    return _run(binary, *corpus()) + _run(binary, *options, begin, CORPUS, seconds=seconds)


def _run(binary: Path, *arguments: str | Path, seconds: float = 0.0) -> Counter[str]:
    broken = binary.with_name("broken")
    broken.mkdir(exist_ok=True)
    ran = subprocess.run(
        [binary, f"-artifact_prefix={broken}/", "-print_final_stats=1", *arguments],
        capture_output=True,
        check=False,
        timeout=seconds + _DEADLINE,
    )
    said = ran.stderr.decode(errors="replace")
    if ran.returncode:
        raise _finding(said, broken)
    inputs, frames = (
        sum(map(int, re.findall(rf"^{name}: *(\d+)$", said, re.MULTILINE)))
        for name in ("stat::number_of_executed_units", "frames")
    )
    return Counter(inputs=inputs, frames=frames)


def _finding(said: str, broken: Path) -> Disagreement:
    """Save the failing inputs in the corpus, and return an error that describes them."""
    summary = re.search(r"Assertion (.*) failed|^SUMMARY: (.*)$", said, re.MULTILINE)
    what = re.sub(r"/\S*/", "", summary[0] if summary else said[-300:])
    kept = [keep(each.read_bytes(), what) for each in sorted(broken.iterdir())]
    # If a file of the corpus fails, libFuzzer writes no file, so take the name from its output.
    kept = kept or [Path(re.findall(r"^Running: (\S+)", said, re.MULTILINE)[-1])]
    shown = [f"{path.name}\n{explained(path.read_bytes())}" for path in kept]
    return Disagreement(what, "\n".join(shown))
