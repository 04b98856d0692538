"""The report in JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from microvm.bench.boot import Boot, median
from microvm.bench.figures import Figure, percentile, summary
from microvm.bench.report import Report


def to_json(report: Report) -> str:
    """Return the report as JSON text; the name of each number ends in its unit."""
    value = {
        "platform": asdict(report.platform),
        "figures": {figure.metric.name: _figure(figure) for figure in report.figures},
        "boot_ms": _boot(median(report.boots)),
        "boots_ms": [_boot(boot) for boot in report.boots],
        "alive": {
            contender: {
                "count": density.count,
                "seconds": round(density.seconds, 3),
                "pss_mib": {str(alive): round(size, 2) for alive, size in density.memory.items()},
            }
            for contender, density in report.densities.items()
        },
    }
    return json.dumps(value, indent=2) + "\n"


def _figure(figure: Figure) -> dict[str, object]:
    floor = {"of": figure.metric.floor_metric, **_beside(figure.floor)} if figure.floor else None
    return {
        **{name: _rounded(value) for name, value in summary(figure).items()},
        "samples": _all(figure.ours),
        "floor": floor,
        "ratio": figure.ratio and _rounded(figure.ratio),
        "default": _beside(figure.default) if figure.default else None,
        "default_ratio": figure.default_ratio and _rounded(figure.default_ratio),
    }


def _beside(samples: Sequence[float]) -> dict[str, object]:
    return {"median": _rounded(percentile(samples, 50)), "samples": _all(samples)}


def _boot(boot: Boot) -> dict[str, float]:
    parts = (*boot.parts().items(), ("total", boot.total))
    return {name: _rounded(seconds * 1e3) for name, seconds in parts}


def _all(samples: Sequence[float]) -> list[float]:
    return [_rounded(sample) for sample in samples]


def _rounded(value: float) -> float:
    return round(value, 4)
