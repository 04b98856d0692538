"""The tables of docs/performance.md, from what `microvm bench --json` has written.

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
    """Write a run of the benchmark as a paragraph and a table.

    :param values: as `export.to_json` writes them.
    """
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
    place, figures = values["platform"], values["figures"]
    execs, clones = (len(figures[name]["samples"]) for name in ("exec_ms", "warm_ready_ms"))
    return (
        f"Linux {place['kernel']}, {place['memory_mib']} MiB; QEMU {place['qemu']} under "
        f"{place['accel'].upper()}, {place['cpus']} CPUs ({place['cpu']}), load {place['load']:g}; "
        f"{place['date'][:10]}. Medians of {len(values['boots_ms'])} boots, {execs} commands and "
        f"{clones} clones; {values['alive']['microvm']['count']} alive at once."
    )


if __name__ == "__main__":
    print("\n".join(to_markdown(json.loads(Path(name).read_text())) for name in sys.argv[1:]))
