"""Converts the report of a benchmark to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from microvm.bench.boot import PARTS, Boot, median
from microvm.bench.figures import METRICS, Figure, percentile, summary
from microvm.bench.report import Density, Platform, Report

_BESIDE = ("baseline", "default")


def to_json(report: Report) -> str:
    """Return the report of a benchmark as JSON. The name of each number ends with its unit."""
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


def from_json(text: str) -> Report:
    """Return the report that was converted to this JSON by `to_json`."""
    value = json.loads(text)
    return Report(
        platform=Platform(**value["platform"]),
        boots=tuple(
            Boot(**{name: boot[name] / 1e3 for name in PARTS}) for boot in value["boots_ms"]
        ),
        figures=tuple(
            Figure(metric, tuple(figure["samples"]), *(_samples(figure[name]) for name in _BESIDE))
            for metric in METRICS
            if (figure := value["figures"].get(metric.name))
        ),
        densities={
            contender: Density(
                alive["count"],
                alive["seconds"],
                {int(count): size for count, size in alive["pss_mib"].items()},
            )
            for contender, alive in value["alive"].items()
        },
    )


def _samples(beside: dict[str, Any] | None) -> tuple[float, ...]:
    return tuple(beside["samples"]) if beside else ()


def _figure(figure: Figure) -> dict[str, object]:
    baseline = (
        {"of": figure.metric.baseline_metric, **_beside(figure.baseline)}
        if figure.baseline
        else None
    )
    return {
        **{name: _rounded(value) for name, value in summary(figure).items()},
        "samples": _all(figure.samples),
        "baseline": baseline,
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
