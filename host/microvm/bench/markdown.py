"""The tables of docs/performance.md, from what `microvm bench --json` has written.

python -m microvm.bench.markdown FILE...
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from microvm.bench.figures import METRICS, formatted


def to_markdown(values: dict[str, Any]) -> str:
    """Write a run of the benchmark as a paragraph and a table.

    :param values: as `export.to_json` writes them.
    """
    lines = [_about(values), "", "| | microvm | the floor | ratio |", "|---|---|---|---|"]
    for metric in METRICS:
        if figure := values["figures"].get(metric.name):
            floor, ratio = figure["floor"], figure["ratio"]
            cells = (formatted(floor["median"]), f"{ratio:.2f}") if floor else ("", "")
            lines.append(f"| {' | '.join((metric.title, formatted(figure['median']), *cells))} |")
    return "\n".join(lines) + "\n"


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
