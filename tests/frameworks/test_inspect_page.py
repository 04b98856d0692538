"""Test of the evaluation in docs/frameworks/inspect.md, by Inspect's own command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/frameworks/inspect.md"


def test_three_of_four_samples_are_correct(tmp_path: Path) -> None:
    text = PAGE.read_text()
    [source] = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    [typed] = re.findall(r"^    \$ inspect (.*)$", text, re.MULTILINE)
    (tmp_path / "sandboxed.py").write_text(source)
    inspect = Path(sys.executable).with_name("inspect")
    options = ["--log-format", "json", "--log-dir", "logs", "--display", "none"]
    subprocess.run([inspect, *typed.split(), *options], cwd=tmp_path, check=True, timeout=120)
    [log] = (tmp_path / "logs").glob("*_sandboxed_*.json")
    samples = json.loads(log.read_text())["samples"]
    assert [sample["scores"]["includes"]["value"] for sample in samples] == ["C", "C", "I", "C"]
