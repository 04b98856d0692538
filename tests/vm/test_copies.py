"""Tests of files that `microvm run` and the jobs of `microvm map` copy and collect."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest
from tests.support.polling import eventually
from tests.vm.conftest import DEADLINE, Command

from microvm import ExecTimeout, FileError, MicroVM, MicroVMError
from microvm.cli.copies import Copies, FileCopy
from microvm.jobs.job import Job, carry_out


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a test, with a script and a folder of data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/numbers").write_text("1\n2\n")
    (tmp_path / "sum.sh").write_text(
        "mkdir out; n=0; while read m; do n=$((n+m)); done < data/numbers; echo $n > out/sum\n"
    )
    return tmp_path


def test_files_are_copied_before_and_collected_after_a_command(
    work: Path, microvm: Command
) -> None:
    copies = ("--copy", "data", "--copy", "sum.sh:/opt/")
    done = microvm("run", *copies, "--collect", "out", "--", "sh", "/opt/sum.sh")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (work / "out/sum").read_text() == "3\n"


@pytest.mark.parametrize(
    ("options", "command", "status"),
    [
        (("--timeout", "1s"), "echo part > out; exec sleep 60", 124),
        ((), "echo part > out; kill -9 $$", 137),
    ],
)
def test_files_of_a_failed_command_are_collected(
    work: Path, microvm: Command, options: tuple[str, ...], command: str, status: int
) -> None:
    done = microvm("run", *options, "--collect", "out:there/", "--", "sh", "-c", command)
    assert done.returncode == status
    assert (work / "there/out").read_text() == "part\n"


MADE = "mkdir -p out/a out/b out/c; echo 1 >out/a/x.csv; echo 2 >out/b/x.csv; echo 3 >out/y.csv; "


def test_files_that_match_a_pattern_are_collected(work: Path, microvm: Command) -> None:
    command = MADE + "echo no >out/no.txt; mkfifo out/z.csv; rmdir out/c; exit 3"
    collect = ("--collect", "out/**/*.csv:all", "--collect", "*/a", "--collect", "out/*.pdf")
    done = microvm("run", *collect, "--workdir", "/tmp", "--", "sh", "-c", command)
    assert (done.returncode, done.stderr.decode().splitlines()) == (
        3,
        [
            "microvm: out/**/*.csv: left out, because they are neither files nor folders: "
            "out/z.csv",
            "microvm: out/*.pdf: no file in the guest matches this pattern",
        ],
    )
    collected = {str(each.relative_to(work)) for each in work.rglob("*.csv")}
    assert collected == {"all/a/x.csv", "all/b/x.csv", "all/y.csv", "out/a/x.csv"}
    assert (work / "all/b/x.csv").read_text() == "2\n"


async def test_files_of_a_pattern_share_a_limit(vm: MicroVM, work: Path) -> None:
    folder = "/tmp/shared [1]"
    await vm.make_dir(folder)
    for name in "abc":
        await vm.write_file(f"{folder}/{name}.csv", b"12345")
    copies = Copies(after=(FileCopy("*.csv", "made"),), max_collect=12)
    failed = await copies.get(vm, {"cwd": folder})
    assert failed is not None
    assert "exceeds a limit of the transfer (a higher --max-collect allows" in str(failed)
    assert {each.name for each in (work / "made").iterdir()} == {"a.csv", "b.csv"}
    found = await vm.glob("?.csv", cwd=folder)
    assert [(each.name, each.size) for each in found] == [(f"{name}.csv", 5) for name in "abc"]
    with pytest.raises(FileError, match="a higher max_files allows more files"):
        await vm.glob(f"{folder.replace('[', '[[]')}/*", max_files=2)
    outcome = await carry_out(
        vm, Job(["true"], collect=["*.csv", "*.pdf"], cwd=folder, max_output=12), {}
    )
    assert list(outcome.files) == ["a.csv", "b.csv"]
    assert "c.csv: it exceeds a limit" in str(outcome.error)
    await vm.remove(folder, recursive=True)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--copy", "data:/proc/x"), "/proc/x: No such file or directory in the guest"),
        (
            ("--collect", "/etc/passwd:sum.sh/x"),
            "cannot collect /etc/passwd to sum.sh/x: sum.sh: File exists",
        ),
        (
            ("--collect", "/bin/busybox:b", "--max-collect", "1K"),
            "/bin/busybox: it exceeds a limit of the transfer "
            "(a higher --max-collect allows more bytes)",
        ),
    ],
)
def test_failed_copy_is_reported_with_status_125(
    work: Path, microvm: Command, options: tuple[str, ...], says: str
) -> None:
    before = sorted(work.iterdir())
    done = microvm("run", *options, "--", "true")
    assert (done.returncode, done.stderr.decode()) == (125, f"microvm: {says}\n")
    assert sorted(work.iterdir()) == before


@pytest.mark.thorough
@pytest.mark.parametrize(("code", "status"), [(0, 125), (3, 3)])
def test_missing_files_are_reported_and_the_rest_is_collected(
    work: Path, microvm: Command, code: int, status: int
) -> None:
    collect = ("--collect", "none", "--collect", "out", "--collect", "/nor:x", "--save", "never")
    done = microvm("run", *collect, "--", "sh", "-c", f"echo part > out; exit {code}")
    assert done.returncode == status
    assert done.stderr.decode().splitlines() == [
        "microvm: none: No such file or directory in the guest",
        "microvm: /nor: No such file or directory in the guest",
        f"microvm: no snapshot never was saved: the status is {status}",
    ]
    assert (work / "out").read_text() == "part\n"


def test_a_signal_ends_a_copy_and_leaves_nothing(work: Path) -> None:
    """The copy has started, and a TiB is too much to finish."""
    command = [sys.executable, "-m", "microvm", "run", "--collect", "large:out/"]
    command += ["--max-collect", "2T", "--", "truncate", "-s", f"{1 << 40}", "large"]
    with subprocess.Popen(command) as running:
        eventually(lambda: list(work.glob("out/.microvm-*")))
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE) == 128 + signal.SIGTERM
    assert {path.name for path in work.rglob("*")} == {"data", "numbers", "out", "sum.sh"}


@pytest.mark.thorough
def test_jobs_copy_and_collect_files(work: Path, microvm: Command) -> None:
    sort = "sort in.txt > out.txt; printf '\\377' > raw; cat"
    jobs = [
        {
            "argv": ["sh", "-c", sort],
            "files": {"in.txt": "b\na\n", "/srv/x": {"base64": "/w=="}},
            "collect": ["out.txt", "/srv/x", "raw"],
            "stdin": "said",
            "cwd": "/tmp",
        },
        {"argv": ["sh", "-c", "echo x > a; exit 3"], "collect": ["none", "a", "nor"]},
        {"argv": ["truncate", "-s", "2000", "big"], "collect": ["big"], "max_output": "1K"},
    ]
    (work / "jobs").write_text("".join(json.dumps(job) + "\n" for job in jobs))
    done = microvm("map", "--ordered", "jobs")
    assert done.returncode == 1, done.stderr
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert (first["status"], first["stdout"], first["error"]) == (0, "said", None)
    assert first["files"] == {
        "out.txt": "a\nb\n",
        "/srv/x": {"base64": "/w=="},
        "raw": {"base64": "/w=="},
    }
    assert (second["status"], second["files"]) == (3, {"a": "x\n"})
    assert second["error"] == "none: No such file or directory in the guest"
    assert (third["status"], third["files"]) == (125, {})
    says = "big: it exceeds a limit of the transfer (a higher max_output allows more bytes)"
    assert third["error"] == says


async def test_job_does_not_run_if_its_files_cannot_be_written(vm: MicroVM) -> None:
    job = Job(["touch", "/tmp/ran"], files={"/proc/x": "y"}, collect=["/etc/hostname"])
    outcome = await carry_out(vm, job, {})
    assert isinstance(outcome.error, FileNotFoundError)
    assert (outcome.completed, outcome.files) == (None, {})
    with pytest.raises(FileNotFoundError):
        await vm.stat("/tmp/ran")


async def test_timeout_of_a_copy_is_not_that_of_the_command() -> None:
    class Slow:
        async def put(self, *_: object) -> None:
            raise ExecTimeout("the transfer of /to", 600)

    copies = Copies(before=(FileCopy("here", "/to"),))
    with pytest.raises(MicroVMError, match="the transfer of /to: timed out") as caught:
        await copies.put(cast(MicroVM, Slow()), {})
    assert caught.value.exit_status == 125
