"""Formats the output of `microvm bench --json` as the tables of docs/performance.md.

python -m microvm.bench.markdown FILE...
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microvm.bench.figures import METRICS, formatted


def to_markdown(values: dict[str, Any]) -> str:
    """Return the result of a benchmark as a paragraph and a table in Markdown."""
    others = {
        "baseline": ("the baseline", "ratio"),
        "default": ("the default image", "default_ratio"),
    }
    if not any(figure["default"] for figure in values["figures"].values()):
        del others["default"]
    heads = ["", "microvm", *(head for title, _ in others.values() for head in (title, "ratio"))]
    lines = [_about(values), "", _row(heads), "|---" * len(heads) + "|"]
    for metric in METRICS:
        if figure := values["figures"].get(metric.name):
            cells = [metric.title, formatted(figure["median"])]
            for name, (_, ratio) in others.items():
                other = figure[name]
                cells += (formatted(other["median"]), f"{figure[ratio]:.2f}") if other else ("", "")
            lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def _about(values: dict[str, Any]) -> str:
    host, figures = values["platform"], values["figures"]
    execs, clones = (len(figures[name]["samples"]) for name in ("exec_ms", "warm_ready_ms"))
    return (
        f"Linux {host['kernel']}, {host['memory_mib']} MiB; QEMU {host['qemu']} under "
        f"{host['accel'].upper()}, {host['cpus']} CPUs ({host['cpu']}), load {host['load']:g}; "
        f"{host['date'][:10]}. Medians of {len(values['boots_ms'])} boots, {execs} commands and "
        f"{clones} clones; {values['alive']['microvm']['count']} alive at once."
    )


if __name__ == "__main__":
    print("\n".join(to_markdown(json.loads(Path(name).read_text())) for name in sys.argv[1:]))
