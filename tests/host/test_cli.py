"""Tests of the command's errors and help, without machines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.support.captured import captured
from tests.support.commands import below

from microvm import arches
from microvm.cli.names import expand_template
from microvm.cli.properties import ago, echo_table, short_name
from microvm.cli.root import _GROUPS, _VERBS, cli
from microvm.errors import TemplateError
from microvm_proto.cli import main as proto


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache."""
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "cache"))


def microvm(*arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "microvm", *arguments]
    return captured(command, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("command", "verb"),
    [(command, verb) for command in (cli, proto) for verb, _ in below(command)],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value.name,
)
def test_help_is_whole(command: click.Command, verb: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(command, [*verb, "--help"])
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert "..." not in shown.stdout.replace("[ARG]...", "").replace("[ARGS]...", "")
    assert "INTEGER" not in shown.stdout


@pytest.mark.thorough
@pytest.mark.parametrize(
    "arguments",
    [
        ["\x1b[31mx"],
        ["run", "--\x1b[31mx", "--", "true"],
        ["run", "--image", "\x1b[31mx", "--", "true"],
        ["map", "\x1b[31mx"],
        ["image", "rm", "\x1b[31mx"],
    ],
    ids=repr,
)
def test_no_escape_sequence_reaches_the_terminal(arguments: list[str]) -> None:
    said = microvm(*arguments)
    assert said.returncode in (2, 125)
    assert r"\x1b[31mx" in said.stderr
    assert "\x1b" not in said.stderr + said.stdout


@pytest.mark.parametrize("kind", ["image", "snapshot", "template", "kernel"])
def test_rm_skips_missing_names(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    names = ["linux-one", "linux-two", "linux-three"]
    kept, *others = [tmp_path / f"{kind}s" / name for name in names]
    for path in (kept, *others):
        path.mkdir(parents=True)
    said = microvm(kind, "rm", names[1], "absent", names[2], "gone", "absent")
    assert said.returncode == 125
    assert [path.exists() for path in (kept, *others)] == [True, False, False]
    errors = said.stderr.splitlines()
    assert [line.partition(" (")[0] for line in errors] == [
        f"microvm: no {kind} absent",
        f"microvm: no {kind} gone",
    ]


def test_a_template_is_found_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    names = [f"alpine-3.20.3-x86_64-e22fbe98c489-{digest}" for digest in ("c42233", "c42244")]
    for name in names:
        (tmp_path / "templates" / name).mkdir(parents=True)
    assert [*map(expand_template, (names[0], "c4223", "e22f"))] == [names[0], names[0], "e22f"]
    with pytest.raises(TemplateError, match=f"digests of several .* c422: {', '.join(names)} "):
        expand_template("c422")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("alpine-3.20.3-{}-e22fbe98c489", "alpine-3.20.3"),
        ("alpine-3.20.3-{}-e22fbe98c489-c422334c893b", "alpine-3.20.3"),
        ("alpine-3.20.3-riscv64-e22fbe98c489", "alpine-3.20.3-riscv64"),
        ("alpine-3.20.3", "alpine-3.20.3"),
    ],
)
def test_tables_show_short_names(name: str, shown: str) -> None:
    assert short_name(name.format(arches.native())) == shown


def test_tables_hold_no_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table([("NAME", "SIZE"), ("\x1b[31mx", "1")])
    assert capsys.readouterr().out == "NAME       SIZE\n\\x1b[31mx  1\n"


@pytest.mark.parametrize(
    ("is_terminal", "full", "shown"),
    [
        (True, False, "NAME        DIGEST\nalpine….20  fc47471607bb\n"),
        (True, True, "NAME             DIGEST\nalpine+git:3.20  fc47471607bb\n"),
        (False, False, "NAME             DIGEST\nalpine+git:3.20  fc47471607bb\n"),
    ],
)
def test_tables_fit_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_terminal: bool,
    full: bool,
    shown: str,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", "24")
    echo_table([("NAME", "DIGEST"), ("alpine+git:3.20", "fc47471607bb")], full=full)
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (-1, "Less than a second"),
        (1.9, "1 second"),
        (59, "59 seconds"),
        (119, "About a minute"),
        (3599, "59 minutes"),
        (3600, "About an hour"),
        (7200, "2 hours"),
        (47 * 3600, "47 hours"),
        (48 * 3600, "2 days"),
        (14 * 86400, "2 weeks"),
        (60 * 86400, "2 months"),
        (729 * 86400, "24 months"),
        (730 * 86400, "2 years"),
    ],
)
def test_ages_are_those_of_docker(age: float, shown: str) -> None:
    assert ago(age) == f"{shown} ago"


def test_error_says_why_a_name_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for given, says in (
        (str(tmp_path), f"microvm: the folder {tmp_path} is no image: it contains no manifest"),
        ("alpine:3.20", "`microvm image pull alpine:3.20` downloads one from a registry"),
        (
            "A B",
            "no image A B (`microvm image ls` lists the images in the cache; a tag is NAME or ",
        ),
        (b"\xff", r"no image \xff (`microvm image ls` lists the images in the cache; a tag is "),
    ):
        said = microvm("run", "--image", given, "--", "true")
        assert said.returncode == 125
        assert says in said.stderr


def into(target: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run `microvm` with its output redirected by a shell."""
    command = [sys.executable, "-P", "-m", "microvm", *arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {target}', "sh", *command], capture_output=True, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["image", "ls"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_error_of_a_full_output_is_one_line(arguments: list[str]) -> None:
    done = into(">/dev/full", *arguments)
    said = b"microvm: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (125, said)
    assert into("2>/dev/full", "image", "rm", "nonsense").returncode == 125


def test_the_table_of_verbs_contains_their_help() -> None:
    for verb, (_, text) in _VERBS.items():
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        assert text == command.get_short_help_str(limit=200)
        assert len(text) <= 64  # the help fits a terminal of 80 columns


def test_help_groups_the_verbs_by_use_with_run_first() -> None:
    shown = CliRunner().invoke(cli, ["--help"]).stdout
    listed = re.findall(r"^  ([a-z]+) {2,}\S", shown, re.MULTILINE)
    assert listed[0] == "run"
    assert listed == cli.list_commands(click.Context(cli))
    assert re.findall(r"^(\w.*):$", shown, re.MULTILINE) == [*_GROUPS, "Options"]


@pytest.mark.parametrize("arguments", [["--help"], ["image", "ls"]])
def test_closed_reader_ends_the_command_like_sigpipe(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        command = [sys.executable, "-P", "-m", "microvm", *arguments]
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="there is a launcher on Linux alone")
def test_compiler_errors_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host without binutils, on which musl-tools does not depend."""
    (tmp_path / "musl-gcc").write_text("#!/bin/sh\necho no assembler >&2; exit 1\n")
    (tmp_path / "musl-gcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    said = microvm("confinement")
    assert said.returncode == 125
    assert "no assembler" in said.stderr.splitlines()


def test_verbs_need_no_module_of_the_extras() -> None:
    script = """
import importlib, pkgutil, sys
for extra in ("IPython", "dask", "distributed", "matplotlib", "pytest", "rich"):
    sys.modules[extra] = None  # so that its import fails
from microvm.cli import verbs
for module in pkgutil.iter_modules(verbs.__path__):
    importlib.import_module(f"microvm.cli.verbs.{module.name}")
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
