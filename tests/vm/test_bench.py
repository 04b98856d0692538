"""`microvm bench`, with tiny counts."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from tests.vm.conftest import Command

PARTS = ("qemu", "kernel", "daemon", "handshake")


@pytest.mark.parametrize(("suffix", "starts"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_it_measures_and_shows_in_every_form(
    microvm: Command, tmp_path: Path, suffix: str, starts: bytes
) -> None:
    figures, plot = tmp_path / "figures.json", tmp_path / f"plot.{suffix}"
    forms = ["--json", str(figures)]
    if importlib.util.find_spec("matplotlib"):
        forms += ["--plot", str(plot)]
    result = microvm("bench", "--boots", "1", "--execs", "5", *forms)
    assert result.returncode == 0, result.stderr
    assert b"exec of true" in result.stdout
    values = json.loads(figures.read_text())
    boot = values["boot_ms"]
    assert boot["total"] == pytest.approx(sum(boot[part] for part in PARTS), abs=0.01)
    assert all(boot[part] > 0 for part in PARTS)
    assert values["boots_ms"] == [boot]
    for latencies in (values["ping_ms"], values["exec_ms"]):
        assert len(latencies["samples"]) == 5
        assert 0 < latencies["p50"] <= latencies["p95"] <= latencies["p99"] <= latencies["max"]
    assert values["stdout"]["mb_per_s"] > 0
    assert values["stdin"]["mb_per_s"] > 0
    assert values["platform"]["accel"] in ("kvm", "tcg")
    if "--plot" in forms:
        assert plot.read_bytes().startswith(starts)


def test_a_plot_of_another_kind_is_refused_before_anything_is_measured(microvm: Command) -> None:
    result = microvm("bench", "--plot", "plot.gif")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b".svg, .png" in result.stderr
