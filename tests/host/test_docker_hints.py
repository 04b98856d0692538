"""Tests of options that users of docker, podman and ssh expect: they work, or a hint is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import click
import pytest
from click.testing import CliRunner
from tests.support.commands import below, parsed_jobs

from microvm.cli import docker_hints, env_file, group, log, parameters
from microvm.cli.root import cli
from microvm.cli.verbs.run import run
from microvm.errors import UsageError
from microvm.option import options_of
from microvm.options import ExecOptions
from microvm.progress import STDERR


def microvm(*arguments: str) -> tuple[int, str]:
    """Return the status and the error of a wrong command line."""
    result = CliRunner().invoke(cli, arguments, prog_name="microvm")
    return result.exit_code, result.output


@pytest.fixture(autouse=True)
def _as_loud_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the level of the log, since `-v` and `-q` change it when they are parsed."""
    monkeypatch.setattr(log, "listen", lambda _: None)
    yield
    STDERR.quiet = False


def parsed(*arguments: str) -> dict[str, object]:
    """Return the options that `microvm run` reads from arguments."""
    return run.make_context("run", [*arguments, "--", "true"]).params


@pytest.mark.parametrize(
    ("verb", "arguments", "says"),
    [
        ("run", ["-v", "/home/me:/w", "--", "ls"], "-v means --verbose, there are no volumes"),
        (
            "run",
            ["--volume=/x:/y", "ls"],
            "There is no --volume: the guest cannot access files of the host",
        ),
        ("run", ["--platform", "linux/arm64", "true"], "There is no --platform: use --arch x86"),
        ("run", ["-P", "true"], "There is no -P: use -p for each port of the guest"),
        ("exec", ["-p", "80", "box", "ls"], "There is no -p: use `microvm port NAME -p"),
        ("run", ["-d", "true"], "There is no -d: use `microvm start` to start a machine in"),
        ("run", ["--env-file", "/nonexistent", "true"], "/nonexistent: No such file or directory"),
        ("run", ["-i", "-t", "true"], "the input device is not a TTY: leave out -t"),
        ("run", ["--cwd=/", "true"], "There is no --cwd: use -w or --workdir"),
        ("exec", ["--memory", "1G", "box", "ls"], "these verbs have it: run, python, map, start"),
        ("start", ["-e", "A=1"], "There is no -e: it applies to commands"),
        ("start", ["-it"], "There is no -i: it runs no command; use `microvm shell NAME` to open"),
        ("start", ["bar", "sleep", "1 0"], "use `microvm exec bar -- sleep '1 0'` to run"),
        ("exec", ["box", "-it", "sh"], "write options before NAME: `microvm exec -it … box …`"),
        ("shell", ["box", "ls"], "use `microvm exec box -- ls` to run a command"),
        ("shell", ["-it", "box"], "There is no -i: a shell always has both"),
        ("cp", ["a:b", "box:/"], "write ./a:b for a file on the host"),
    ],
    ids=str,
)
def test_option_of_containers_is_answered(verb: str, arguments: list[str], says: str) -> None:
    status, said = microvm(verb, *arguments)
    assert status == 2
    assert says in said


@pytest.mark.parametrize("verb", [verb for verb, _ in below(cli)], ids=" ".join)
@pytest.mark.parametrize(
    "given", [[], ["-v"], ["-h"], ["-it"], ["-a", "b", "c", "d"]], ids=" ".join
)
def test_every_line_is_understood_or_refused(verb: tuple[str, ...], given: list[str]) -> None:
    context = click.Context(cli, info_name="microvm")
    for name in verb:
        command = cast(click.Group, context.command).get_command(context, name)
        assert command
        context = click.Context(command, parent=context, info_name=name)
    with suppress(click.UsageError, click.exceptions.Exit):
        context.command.make_context(context.info_name, given, context.parent)


@pytest.mark.parametrize("habit", [["--rm"], ["--name", "x"]], ids=" ".join)
def test_options_of_docker_without_an_effect(habit: list[str]) -> None:
    assert parsed(*habit) == parsed()


def test_variable_without_a_value_has_that_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIVEN", "a=b")
    monkeypatch.delenv("ABSENT", raising=False)
    given = parsed("-e", "GIVEN", "-e", "ABSENT", "-e", "EMPTY=")
    options = parameters.given_options(ExecOptions, given)
    assert options.get("env") == {b"GIVEN": b"a=b", b"EMPTY": b""}


def test_env_file_is_read_as_by_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "ours")
    monkeypatch.delenv("ABSENT", raising=False)
    file = tmp_path / "env"
    file.write_bytes(
        b"\xef\xbb\xbf# a comment\n\nA=1 # none\r\n  B='q'\nOURS\nABSENT\nC=\nD==\nE=\xff\nA=2 "
    )
    assert env_file.read(str(file)) == {
        "A": "2 ",
        "B": "'q'",
        "OURS": "ours",
        "C": "",
        "D": "=",
        "E": "\udcff",
    }


def test_options_are_over_files_and_later_files_over_earlier(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    first.write_text("A=first\nB=first\nC=first")
    second.write_text("B=second\nC=second")
    given = parsed("-e", "C=option", "--env-file", str(first), "--env-file", str(second))
    env = parameters.given_options(ExecOptions, given).get("env")
    assert env == {b"A": b"first", b"B": b"second", b"C": b"option"}


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("=s3cr3t", "there is no name before the ="),
        ("export TOKEN=s3cr3t", "the name 'export TOKEN' contains spaces; leave out export"),
        ("A B=s3cr3t", "the name 'A B' contains spaces"),
        ("A =s3cr3t", "the name 'A ' contains spaces"),
        ("s3cr3t more", "the line contains spaces, but no ="),
    ],
)
def test_invalid_line_is_refused_without_its_value(tmp_path: Path, line: str, wrong: str) -> None:
    file = tmp_path / "env"
    file.write_text(f"A=1\n{line}\n")
    with pytest.raises(UsageError) as refused:
        env_file.read(str(file))
    assert str(refused.value) == f"{file}: line 2: {wrong}"


@pytest.mark.parametrize(
    "env", ["A=s3cr3t", ["A=s3cr3t"], {"A": ["s3cr3t"]}, {"A": "s3cr3t\ud800"}, {"=": "s3cr3t"}]
)
def test_no_error_says_a_variables_value(env: Any) -> None:
    with pytest.raises(UsageError) as refused:
        options_of(ExecOptions)["env"].check(env)
    assert "s3cr3t" not in str(refused.value)
    line = json.dumps({"argv": ["true"], "env": env}).encode()
    with pytest.raises(UsageError) as refused:
        parsed_jobs(line)
    assert "s3cr3t" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["imgae", "ls"], "No such command 'imgae'. Did you mean `microvm image`?"),
        (["fork", "box"], "--from SNAPSHOT -- CMD` for each fork of it."),
        (["build"], "Did you mean `microvm image build` or `microvm kernel build`?"),
        (["ssh", "box"], "Did you mean `microvm shell`?"),
        (["rm", "box"], "a machine, or `microvm image rm` to remove an image."),
        (["rename", "a", "b"], "Name them with `microvm start NAME`."),
        (["-q", "run", "true"], "Write -q after the verb: `microvm run -q`"),
        (["--memory", "image", "build"], "`microvm image build --memory`"),
        (["help", "run", "x"], "`microvm run` has no subcommands"),
        (["quux"], "No such command 'quux'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistyped_verb_has_a_suggestion(arguments: list[str], says: str) -> None:
    status, said = microvm(*arguments)
    assert status == 2
    assert said.rstrip().endswith(says)


def test_every_answer_is_of_a_verb_that_is_there() -> None:
    verbs = {" ".join(verb) for verb, _ in below(cli)}
    assert {*docker_hints._HINTS_BY_VERB, *docker_hints._EXTRA_ARGUMENTS} <= verbs
    assert {*group._EQUIVALENTS.values()} <= {*verbs, "--version"}
    assert not {*group._EQUIVALENTS, *group._HINTS} & verbs
