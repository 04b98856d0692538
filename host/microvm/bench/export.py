"""A report for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from microvm.bench.report import Boot, Latencies, Report, Throughput, median


def to_json(report: Report) -> str:
    """Return the report as JSON text; times are in milliseconds, as their names say."""
    value = {
        "platform": asdict(report.platform),
        "boot_ms": _boot(median(report.boots)),
        "boots_ms": [_boot(boot) for boot in report.boots],
        "ping_ms": _latencies(report.pings),
        "exec_ms": {"command": list(report.exec_command), **_latencies(report.execs)},
        "stdout": _throughput(report.stdout),
        "stdin": _throughput(report.stdin),
    }
    return json.dumps(value, indent=2) + "\n"


def _boot(boot: Boot) -> dict[str, float]:
    return {name: _ms(seconds) for name, seconds in (*boot.parts().items(), ("total", boot.total))}


def _throughput(throughput: Throughput) -> dict[str, object]:
    return {
        "command": list(throughput.command),
        "bytes": throughput.size,
        "mb_per_s": round(throughput.megabytes_per_second, 1),
    }


def _latencies(latencies: Latencies) -> dict[str, object]:
    summary = {name: _ms(seconds) for name, seconds in latencies.summary().items()}
    return {**summary, "samples": [_ms(seconds) for seconds in latencies.samples]}


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 4)
