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

from microvm.arches import native
from microvm.cli import docker_hints, env_file, fast_path, group, log, names, parameters
from microvm.cli.root import cli
from microvm.cli.verbs.run import run
from microvm.errors import UsageError
from microvm.option import options_of
from microvm.options import ExecOptions, MachineOptions
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
        ("run", ["-v", "data:/w:ro", "ls"], "use --copy SRC:DST to copy files in"),
        (
            "run",
            ["--volume=/x:/y", "ls"],
            "There is no --volume: the guest cannot access files of the host",
        ),
        ("run", ["--net", "host", "true"], "There is no --net: the guest has no network"),
        ("run", ["--platform", "linux/arm64", "true"], "There is no --platform: use --arch x86"),
        ("run", ["-P", "true"], "There is no -P: use -p for each port of the guest"),
        ("run", ["-p", "53:53/udp", "true"], "'53:53/udp' is not [[HOST:]PORT:]GUEST"),
        ("exec", ["-p", "80", "box", "ls"], "There is no -p: use `microvm port NAME -p"),
        ("run", ["-d", "true"], "There is no -d: use `microvm start` to start a machine in"),
        ("run", ["--env-file", "/nonexistent", "true"], "/nonexistent: No such file or directory"),
        ("run", ["-i", "-t", "true"], "the input device is not a TTY: leave out -t"),
        ("run", ["--cwd=/", "true"], "There is no --cwd: use -w or --workdir"),
        ("run", ["--timeuot", "1", "true"], "--timeout"),
        ("exec", ["--memory", "1G", "box", "ls"], "these verbs have it: run, python, map, start"),
        ("start", ["-e", "A=1"], "There is no -e: it applies to commands"),
        ("start", ["-v", "/home/me:/w"], "use `microvm cp SRC NAME:DST` to copy files in"),
        ("start", ["-v", "/home/me:/w", "box"], "-v means --verbose, there are no volumes"),
        ("start", ["-d"], "There is no -d: the machine always runs in the background"),
        ("start", ["--name", "one", "two"], "NAME and --name are the same"),
        ("exec", ["-v", "/home/me:/w", "box", "ls"], "-v means --verbose, there are no volumes"),
        ("start", ["-it"], "There is no -i: it runs no command; use `microvm shell NAME` to open"),
        ("start", ["bar", "sleep", "1 0"], "use `microvm exec bar -- sleep '1 0'` to run"),
        ("exec", ["-it", "box", "sh"], "the input device is not a TTY: leave out -t"),
        ("exec", ["box", "-it", "sh"], "write options before NAME: `microvm exec -it … box …`"),
        ("exec", ["box", "-e", "A=1", "--", "env"], "`microvm exec -e … box …`"),
        ("shell", ["box", "ls"], "use `microvm exec box -- ls` to run a command"),
        ("logs", ["--tail", "5", "box"], "There is no --tail: use `microvm logs NAME | tail`"),
        ("stop", ["-t", "5", "box"], "There is no -t: machines always stop immediately"),
        ("shell", ["-it", "box"], "There is no -i: a shell always has both"),
        ("cp", ["-r", "a", "box:/"], "There is no -r: folders are always copied with their"),
        ("inspect", ["-f", "{{.State}}", "box"], "There is no -f: use --json to print all details"),
        ("ps", ["box"], "use `microvm inspect box` to show one machine"),
        ("config", ["set", "memory"], "write a line such as `memory ="),
        ("cp", ["a:b", "box:/"], "write ./a:b for a file on the host"),
    ],
    ids=str,
)
def test_option_of_containers_is_answered(verb: str, arguments: list[str], says: str) -> None:
    status, said = microvm(verb, *arguments)
    assert status == 2
    assert says in said


@pytest.mark.parametrize("verb", ["run", "exec", "shell", "cp"])
@pytest.mark.parametrize("given", [[], ["-v"], ["-q", "-v"], ["-vvv"]], ids=" ".join)
def test_missing_argument_is_named(verb: str, given: list[str]) -> None:
    status, said = microvm(verb, *given)
    assert status == 2
    assert "Missing argument" in said


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


def test_a_volume_of_the_command_is_its_own() -> None:
    options = run.make_context("run", ["-v", "--", "docker", "-v", "/a:/b"]).params
    assert options["command"] == ("docker", "-v", "/a:/b")


@pytest.mark.parametrize("habit", [["--rm"], ["--name", "x"]], ids=" ".join)
def test_options_of_docker_without_an_effect(habit: list[str]) -> None:
    assert parsed(*habit) == parsed()


@pytest.mark.parametrize(
    ("given", "passed_on"),
    [([], None), (["-i"], True), (["--interactive"], True), (["-n"], False), (["-i", "-n"], False)],
    ids=str,
)
def test_standard_input_is_passed_on_as_asked(given: list[str], passed_on: bool | None) -> None:
    assert parsed(*given)["standard_input"] is passed_on


def test_m_is_memory() -> None:
    assert parameters.given_options(MachineOptions, parsed("-m", "1G")).get("memory") == 1 << 30


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


def test_an_option_that_is_no_variable_is_refused() -> None:
    with pytest.raises(click.BadParameter) as refused:
        parsed("-e", "=s3cr3t")
    assert refused.value.message == "it must be KEY=VALUE or KEY, but there is no KEY before the ="


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["imgae", "ls"], "No such command 'imgae'. Did you mean `microvm image`?"),
        (["image", "lss"], "Did you mean `microvm image ls`?"),
        (["fork", "box"], "--from SNAPSHOT -- CMD` for each fork of it."),
        (["images"], "Did you mean `microvm image ls`?"),
        (["build"], "Did you mean `microvm image build` or `microvm kernel build`?"),
        (["ssh", "box"], "Did you mean `microvm shell`?"),
        (["version"], "Did you mean `microvm --version`?"),
        (["info"], "Did you mean `microvm doctor`?"),
        (["pull", "x"], "Did you mean `microvm image pull`?"),
        (["stats"], "Did you mean `microvm ps`?"),
        (["rm", "box"], "a machine, or `microvm image rm` to remove an image."),
        (["restart", "box"], "then `microvm start NAME` to start a new machine."),
        (["rename", "a", "b"], "Name them with `microvm start NAME`."),
        (["login"], "`microvm image pull` uses their credentials."),
        (["-q", "run", "true"], "Write -q after the verb: `microvm run -q`"),
        (["--memory", "image", "build"], "`microvm image build --memory`"),
        (["help", "rnu"], "Did you mean `microvm run`?"),
        (["help", "image", "tga"], "Did you mean `microvm image tag`?"),
        (["help", "run", "x"], "`microvm run` has no subcommands"),
        (["quux"], "No such command 'quux'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistyped_verb_has_a_suggestion(arguments: list[str], says: str) -> None:
    status, said = microvm(*arguments)
    assert status == 2
    assert said.rstrip().endswith(says)


@pytest.mark.parametrize("verb", [[], ["run"], ["image", "build"]], ids=" ".join)
def test_help_may_come_first(verb: list[str]) -> None:
    assert microvm("help", *verb) == microvm(*verb, "--help") == microvm("help", " ".join(verb))


def test_an_option_that_no_verb_has_is_behind_none() -> None:
    status, said = microvm("--nonsense", "run")
    assert status == 2
    assert "after the verb" not in said


def test_help_may_be_in_the_middle() -> None:
    assert microvm("image", "help", "build") == microvm("image", "build", "--help")
    assert microvm("image", "help") == microvm("image", "--help")


def test_every_answer_is_of_a_verb_that_is_there() -> None:
    verbs = {" ".join(verb) for verb, _ in below(cli)}
    assert {*docker_hints._HINTS_BY_VERB, *docker_hints._EXTRA_ARGUMENTS} <= verbs
    assert {*group._EQUIVALENTS.values()} <= {*verbs, "--version"}
    assert not {*group._EQUIVALENTS, *group._HINTS} & verbs


def test_all_machines_are_listed_always(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert microvm("ps", "-a") == microvm("ps")
    assert microvm("ps")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "is_simple"),
    [
        (["box", "ls", "-l"], True),
        (["box", "--", "-l"], True),
        (["box", "-l"], False),
        (["-i", "box", "ls"], False),
        (["box", "--"], False),
        (["box"], False),
        ([], False),
    ],
    ids=str,
)
def test_exec_without_options_needs_no_click(arguments: list[str], is_simple: bool) -> None:
    assert (fast_path.parse_exec(arguments) is not None) is is_simple


@pytest.mark.parametrize(
    ("word", "may_be"),
    [("app", True), ("app:1", True), ("python", True), ("alpine", True), ("ls", False)],
)
def test_a_word_may_be_an_image(
    word: str, may_be: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path))
    (tmp_path / "images/alpine-3").mkdir(parents=True)
    (tmp_path / "tags").mkdir()
    (tmp_path / f"tags/app:2@{native()}").write_text("alpine-3")
    assert names.may_be_image(word) is may_be


def test_every_group_of_commands_gives_hints() -> None:
    for name, command in below(cli):
        assert not isinstance(command, click.Group) or isinstance(command, group.VerbGroup), name
