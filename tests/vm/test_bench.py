"""Tests of `microvm bench` with few repetitions.

They check no time, since times depend on the host.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.parameters import accelerator
from tests.support.polling import eventually
from tests.support.processes import exists
from tests.vm.conftest import Command

from microvm.bench import boot, figures, several
from microvm.cli.verbs.bench import bench
from microvm.images import Image

pytestmark = [pytest.mark.thorough, pytest.mark.alone]  # since the benchmark needs the whole host

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
FEW = ("--boots", "1", "--execs", "3", "--clones", "2")
PYTHON = {"warm_python_ms", "python_answer_ms"}  # Alpine has no Python
METRICS = {metric.name for metric in figures.METRICS} - PYTHON
ALONE = {"pause_ms", "snapshot_ms", "next_answer_ms", "forks_ms"}  # the baseline cannot do these
BASELINE_METRIC = {metric.name: metric.baseline_metric for metric in figures.METRICS}


@pytest.fixture(scope="module")
def everything(microvm: Command, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The output of one run in every format, by the name of the format."""
    folder = tmp_path_factory.mktemp("bench")
    files = {"json": folder / "figures.json"}
    if importlib.util.find_spec("matplotlib"):
        files["plot"] = folder / "figures.png"
    options = [word for form, path in files.items() for word in (f"--{form}", str(path))]
    result = microvm("bench", *FEW, *options)
    assert result.returncode == 0, result.stderr
    forms = {"table": result.stdout, "progress": result.stderr}
    return forms | {form: path.read_bytes() for form, path in files.items()}


def test_every_figure_has_samples_of_both_contenders(everything: dict[str, bytes]) -> None:
    values = json.loads(everything["json"])
    assert set(values["figures"]) == METRICS
    counts = {"cold_ready_ms": 1, "exec_ms": 3, "ping_ms": 3, "clones_per_s": 1, "clone_pss_mib": 1}
    streams = {"stdout_mb_s": 3, "stdin_mb_s": 3, "get_mb_s": 3, "put_mb_s": 3}
    forks = {"forks_ms": 1, "fork_pss_mib": 1}
    for name, figure in values["figures"].items():
        count = (counts | streams | forks).get(name, 2)
        assert len(figure["samples"]) == count, name
        if name in ALONE:
            assert figure["baseline"] is None
            assert min(figure["samples"]) > 0, name
            continue
        assert len(figure["baseline"]["samples"]) == count, name
        assert figure["baseline"]["of"] == BASELINE_METRIC[name]
        assert min(figure["samples"] + figure["baseline"]["samples"]) > 0, name
        assert figure["ratio"] == pytest.approx(
            figure["median"] / figure["baseline"]["median"], 0.01
        )
    assert values["platform"]["accel"] in ("kvm", "tcg")


def test_times_of_the_steps_of_a_boot_add_up(everything: dict[str, bytes]) -> None:
    values = json.loads(everything["json"])
    parts = values["boot_ms"]
    assert set(parts) == {*boot.PARTS, "total"}
    assert all(parts[name] > 0 for name in boot.PARTS)
    assert parts["total"] == pytest.approx(sum(parts[name] for name in boot.PARTS), abs=0.01)
    assert parts["total"] == pytest.approx(values["figures"]["cold_ready_ms"]["median"], rel=0.01)
    assert values["boots_ms"] == [parts]


@pytest.mark.only_arch("x86_64", reason="the memory of QEMU for aarch64 itself varies by 9 MiB")
def test_clones_share_memory(everything: dict[str, bytes]) -> None:
    """Two clones use less memory each than one alone, since shared pages count half."""
    for density in json.loads(everything["json"])["alive"].values():
        assert density["count"] == 2
        assert 0 < density["pss_mib"]["2"] < density["pss_mib"]["1"]


def test_document_has_the_tables_and_valid_commands() -> None:
    text = DOCUMENT.read_text()
    for metric in figures.METRICS:
        assert f"\n| {metric.title} | " in text
    commands = re.findall(r"^    microvm (bench .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        name, *arguments = shlex.split(command)
        bench.make_context(name, arguments)  # rejects unknown options


def test_baseline_exits_when_its_controller_is_killed(image: Image) -> None:
    program = (
        "import asyncio, sys, time\n"
        "from pathlib import Path\n"
        "from microvm.bench.baseline import Baseline\n"
        "from microvm.images import load\n"
        "opened = Baseline.opened(load(Path(sys.argv[1])), accel=sys.argv[2], memory=128)\n"
        "with opened as baseline:\n"
        "    machine = asyncio.run(baseline.boot())\n"
        "    print(machine.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(image.path), accelerator()],
        stdout=subprocess.PIPE,
        text=True,
    ) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        assert exists(pid)
        controller.send_signal(signal.SIGKILL)
    eventually(lambda: not exists(pid))


async def test_rows_of_several_commands_are_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"_ROUNDS": 1, "_STREAM_RUNS": 1, "_FLOOD_SECONDS": 0.2, "_PIPED_SIZE": 1 << 24}
    for name, value in few.items():
        monkeypatch.setattr(several, name, value)
    rows = await several.measure()
    assert all(value > 0 and ratio > 0 for _, value, ratio in rows)
    text = DOCUMENT.read_text()
    for title, *_ in rows:
        assert f"\n| {title} | " in text
