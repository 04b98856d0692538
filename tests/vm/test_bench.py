"""Tests of `microvm bench` with few repetitions.

They check no time, since times depend on the host.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.disk import disk_image
from tests.support.parameters import accelerator
from tests.support.polling import eventually
from tests.support.processes import exists
from tests.vm.conftest import Command

from microvm.bench import boot, export, figures, plot, several
from microvm.bench.baseline import Baseline
from microvm.bench.library import Library
from microvm.bench.markdown import to_markdown
from microvm.cli.verbs.bench import bench
from microvm.errors import MachineError
from microvm.images import Image
from microvm.option import parse_options
from microvm.options import PoolOptions
from microvm.qemu import launcher

pytestmark = [pytest.mark.thorough, pytest.mark.alone]  # since the benchmark needs the whole host

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
FEW = ("--boots", "1", "--execs", "3", "--clones", "2")
PYTHON = {"warm_python_ms", "python_answer_ms"}  # Alpine has no Python
METRICS = {metric.name for metric in figures.METRICS} - PYTHON
ALONE = {"pause_ms", "snapshot_ms", "next_answer_ms", "forks_ms"}  # the baseline cannot do these
BASELINE_METRIC = {metric.name: metric.baseline_metric for metric in figures.METRICS}


def metrics(names: set[str]) -> list[figures.Metric]:
    return [metric for metric in figures.METRICS if metric.name in names]


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


def test_worst_is_longest_time_and_lowest_rate(everything: dict[str, bytes]) -> None:
    values = json.loads(everything["json"])["figures"]
    for name, worst in (("exec_ms", max), ("warm_true_ms", max), ("stdout_mb_s", min)):
        assert values[name]["worst"] == worst(values[name]["samples"])
    assert values["exec_ms"]["median"] <= values["exec_ms"]["p95"] <= values["exec_ms"]["p99"]


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


def test_table_shows_every_figure_and_the_progress(everything: dict[str, bytes]) -> None:
    lines = everything["table"].decode().splitlines()
    for metric in metrics(METRICS):
        (row,) = [line.strip() for line in lines if line.strip().startswith(f"{metric.title} ")]
        cells = 3 if metric.name in ALONE else 5
        assert len(row.removeprefix(metric.title).split()) == cells, row
    assert b"clones alive at once, baseline" in everything["progress"]


@pytest.mark.long
def test_image_with_disk_is_compared_with_default_image(
    microvm: Command, image: Image, tmp_path: Path
) -> None:
    """A program that only the disk contains takes longer to start than `true`."""
    program = b"""#!/bin/sh
[ "$2" = pass ] && exec sleep 0.2
while read n </run/question; do echo $((n * n)) >/run/answer; done
"""
    python = tarfile.TarInfo("usr/bin/python3")
    python.mode, python.size = 0o755, len(program)
    on_disk = disk_image(image, tmp_path / "image", more=[(python, program)])
    file = tmp_path / "figures.json"
    result = microvm("bench", *FEW, "--image", str(on_disk.path), "--json", str(file))
    assert result.returncode == 0, result.stderr
    values = json.loads(file.read_bytes())
    assert set(values["figures"]) == (METRICS | PYTHON) - {"answer_ms"}
    assert set(values["alive"]) == {"microvm", "baseline", "default"}
    for name in ("cold_ready_ms", "warm_ready_ms", "warm_true_ms", "exec_ms", "clone_pss_mib"):
        figure = values["figures"][name]
        assert len(figure["default"]["samples"]) == len(figure["samples"]), name
        quotient = figure["median"] / figure["default"]["median"]
        assert figure["default_ratio"] == pytest.approx(quotient, 0.01), name
    slow = values["figures"]["warm_python_ms"]
    assert slow["default"] is None
    assert min(slow["samples"] + slow["baseline"]["samples"]) > 200
    markdown = to_markdown(values).splitlines()
    assert "| | microvm | the baseline | ratio | the default image | ratio |" in markdown
    assert all(line.count("|") == 7 for line in markdown if line.startswith("|"))


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="no matplotlib")
def test_plot_is_a_png_image(everything: dict[str, bytes]) -> None:
    assert everything["plot"].startswith(b"\x89PNG")


@pytest.mark.skipif(not importlib.util.find_spec("matplotlib"), reason="no matplotlib")
def test_saved_report_is_drawn_identically(everything: dict[str, bytes], tmp_path: Path) -> None:
    text = everything["json"].decode()
    report = export.from_json(text)
    assert export.from_json(export.to_json(report)) == report
    samples = {figure.metric.name: list(figure.samples) for figure in report.figures}
    assert samples == {name: each["samples"] for name, each in json.loads(text)["figures"].items()}
    pictures = tmp_path / "one.svg", tmp_path / "other.svg"
    for picture in pictures:
        plot.draw(report, picture)
    one, other = (picture.read_bytes() for picture in pictures)
    assert one == other
    assert f"ready: {figures.formatted(samples['cold_ready_ms'][0])} ms".encode() in one


def test_table_of_the_document_is_made_from_the_json(
    everything: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "figures.json"
    file.write_bytes(everything["json"])
    command = [sys.executable, "-m", "microvm.bench.markdown", str(file)]
    markdown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    values = json.loads(everything["json"])
    assert values["platform"]["kernel"] in markdown
    for metric in metrics(METRICS):
        (row,) = [line for line in markdown.splitlines() if line.startswith(f"| {metric.title} |")]
        ours = figures.formatted(values["figures"][metric.name]["median"])
        if metric.name in ALONE:
            assert f"| {ours} | | |" in row
            continue
        baseline = figures.formatted(values["figures"][metric.name]["baseline"]["median"])
        assert f"| {ours} | {baseline} |" in row


def test_document_has_the_tables_and_valid_commands() -> None:
    text = DOCUMENT.read_text()
    for metric in figures.METRICS:
        assert f"\n| {metric.title} | " in text
    commands = re.findall(r"^    microvm (bench .*)$", text, re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        name, *arguments = shlex.split(command)
        bench.make_context(name, arguments)  # rejects unknown options


@pytest.fixture
def bare_path(image: Image) -> Iterator[Path]:
    """A folder with the programs that machines need, without a compiler."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # QEMU runs as another user, who must read it
        launcher.find()  # has been compiled already
        found = shutil.which(program := f"qemu-system-{image.manifest.arch}")
        assert found is not None
        (folder / program).symlink_to(found)
        (folder / "sitecustomize.py").write_text("import sys\nsys.modules['ziglang'] = None\n")
        yield folder


async def test_modules_in_the_current_folder_are_not_imported(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tty", "click", "microvm", "ziglang"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger is imported')")
    monkeypatch.chdir(tmp_path)
    library = Library(
        image, parse_options(PoolOptions, {"memory": "128M", "accel": accelerator()}, "MicroVM")
    )
    await library.run_process()


def test_baseline_is_left_out_without_a_compiler(
    microvm: Command, image: Image, bare_path: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "plot.svg"
    forms = ["--plot", str(plot)] if importlib.util.find_spec("matplotlib") else []
    result = microvm(
        *("bench", *FEW, "--image", str(image.path), "--json", "-", *forms),
        env={**os.environ, "PATH": str(bare_path), "PYTHONPATH": str(bare_path)},
    )
    assert result.returncode == 0, result.stderr
    notices = [line for line in result.stderr.splitlines() if b"baseline" in line]
    assert len(notices) == 1, result.stderr
    assert b"no C compiler" in notices[0]
    values = json.loads(result.stdout)
    assert set(values["figures"]) == METRICS
    assert {figure["baseline"] for figure in values["figures"].values()} == {None}
    assert set(values["alive"]) == {"microvm"}
    if forms:
        assert plot.read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--plot", "plot.gif"], b".svg, .png"), (["--memory", "128M"], b"at least 192M")],
)
def test_wrong_options_are_refused_at_once(
    microvm: Command, options: list[str], says: bytes
) -> None:
    result = microvm("bench", *options)
    assert (result.returncode, result.stdout) == (2, b"")
    assert says in result.stderr


def test_kernel_and_image_together_are_refused(microvm: Command) -> None:
    result = microvm("bench", "--image", "some", "--kernel", "debian")
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"--kernel" in result.stderr


@pytest.mark.only_arch("x86_64", reason="QEMU for aarch64 starts any file as a kernel")
async def test_baseline_that_does_not_start_reports_the_reason(
    image: Image, tmp_path: Path
) -> None:
    nothing = tmp_path / "kernel"
    nothing.write_bytes(b"no kernel")
    broken = Image(tmp_path, image.manifest)
    (tmp_path / "initramfs.cpio").symlink_to(image.initramfs)
    with (
        Baseline.opened(broken, accel=accelerator(), memory=128) as baseline,
        pytest.raises(MachineError, match="kernel"),
    ):
        await baseline.boot()


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
