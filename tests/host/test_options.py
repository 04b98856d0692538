"""Tests that all descriptions of an option come from its one declaration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from subprocess import PIPE, STDOUT
from typing import Any, cast

import click
import pytest
from tests.support.commands import below
from tests.support.options import exec_options

from microvm import Job, MicroVM, Pool, sync
from microvm.cli import parameters
from microvm.cli.root import cli
from microvm.errors import UsageError
from microvm.guest.request import HostLimits, arguments_of, request_of
from microvm.jobs.file import _KEYS
from microvm.option import Option, options_of
from microvm.options import ExecOptions, MachineOptions, PoolOptions, RunOptions
from microvm.wire import codec

# A value other than the default for each option of a command.
GIVEN: ExecOptions = {
    "command": "sh",
    "shell": True,
    "env": {"A": "b=c", "D": ""},
    "cwd": "/tmp",
    "user": 1000,
    "stdin": PIPE,
    "stderr": STDOUT,
    "tty": (50, 132),
    "timeout": "2m",
    "grace": "500ms",
    "max_output": "1K",
    "max_processes": 3,
    "max_memory": "64M",
}

EVERYWHERE = [*options_of(RunOptions).values(), *options_of(MachineOptions).values()]


def test_every_option_reaches_the_guest_or_binds_the_host() -> None:
    assert GIVEN.keys() == options_of(ExecOptions).keys()
    for name, value in GIVEN.items():
        needed = options_of(ExecOptions)[name].needs
        base = {needed: GIVEN[needed]} if needed else {}  # type: ignore[literal-required]
        assert sent({**base, name: value}) != sent(base), name


def sent(given: dict[str, Any]) -> object:
    """Return the request for the command `true` with these options, and the host's limits."""
    checked = exec_options(**cast(ExecOptions, given))
    argv = arguments_of("true" if given.get("shell") else ["true"], checked)
    return request_of(argv, checked)


def test_request_contains_the_given_options() -> None:
    assert request_of(["-sh", "x"], exec_options(**GIVEN)) == (
        codec.ExecRequest(
            id=0,
            command=b"sh",
            cwd=b"/tmp",
            argv=(b"-sh", b"x"),
            env=(b"A=b=c", b"D="),
            stdout_credit=0,
            stderr_credit=0,
            user=b"1000",
            stdin_from=codec.StdinKind.HOST,
            rows=50,
            columns=132,
            max_processes=3,
            max_memory=64 << 20,
            joined=True,
        ),
        HostLimits(timeout=120, grace=0.5, max_output=1024),
    )


def test_a_job_has_the_options_of_map() -> None:
    there = {name for name, option in options_of(ExecOptions).items() if "map" in option.verbs}
    assert _KEYS.keys() == there | {
        *("argv", "argv_base64", "id", "stdin", "stdin_base64", "files", "collect")
    }
    assert set(_KEYS["env"]) == {dict}
    assert set(_KEYS["cwd"]) == {str}
    assert set(_KEYS["user"]) == {str, int}
    assert set(_KEYS["timeout"]) == {int, float, str}
    assert set(_KEYS["max_output"]) == {int, str}
    assert set(_KEYS["max_processes"]) == {int}
    assert all(_KEYS.values())


@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (MicroVM.__init__, MachineOptions),
        (MicroVM.exec, ExecOptions),
        (MicroVM.run, RunOptions),
        (sync.MicroVM.__init__, MachineOptions),
        (sync.MicroVM.exec, ExecOptions),
        (sync.MicroVM.run, RunOptions),
        (Pool.__init__, PoolOptions),
        (Pool.map, RunOptions),
    ],
)
def test_help_lists_every_option_completely(function: Callable[..., object], kind: type) -> None:
    said = inspect.getdoc(function) or ""
    for name, option in options_of(kind).items():
        (line,) = [line for line in said.splitlines() if line.startswith(f":param {name}: ")]
        assert option.help in line
        assert f"({option.type_text}" in line
        assert option.unit in line
        assert f"default: {option.default_text})" in line
    assert "(float | str, seconds, or text such as `2m`; default: no SIGTERM)" in str(
        MicroVM.run.__doc__
    )


@pytest.mark.parametrize(
    "option", [one for one in EVERYWHERE if one.type is not bool], ids=lambda option: option.name
)
@pytest.mark.parametrize("value", [object(), 1.5j, [None]], ids=["object", "complex", "list"])
def test_errors_of_wrong_values_begin_with_the_option_name(option: Option, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{option.name}: "):
        option.check(value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"cpus": "2"}, "cpus: '2' is not a whole number from 1 on"),
        ({"cpus": True}, "cpus: True is not a whole number"),
        ({"memory": "1K"}, "memory: '1K' is too little memory for a guest"),
        ({"accel": "fast"}, "accel: it must be one of auto, kvm, tcg, not 'fast'"),
        ({"notify": 5}, "notify: 5 is not callable"),
    ],
)
@pytest.mark.parametrize("kind", [MicroVM, sync.MicroVM, Pool])
def test_a_machine_that_cannot_be_is_refused(kind: Any, given: Any, says: str) -> None:
    with pytest.raises(UsageError, match="^" + says):
        kind(**given)


def test_error_names_the_option_that_another_needs() -> None:
    with pytest.raises(UsageError, match=r"^grace has no effect without timeout: "):
        exec_options(grace=1)
    with pytest.raises(click.UsageError, match=r"^--grace has no effect without --timeout: "):
        parameters.given_options(ExecOptions, {"grace": 1, "timeout": None})


@pytest.mark.parametrize(
    ("make", "wrong", "right"),
    [(MicroVM, "imge", "image"), (Pool, "sze", "size"), (partial(Job, ["a"]), "fils", "files")],
    ids=["MicroVM", "Pool", "Job"],
)
def test_a_named_parameter_is_suggested(make: Any, wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=f"has no option '{wrong}'; did you mean '{right}'"):
        make(**{wrong: 2})


_SHORT = {"--env": "-e", "--workdir": "-w", "--user": "-u", "--verbose": "-v", "--memory": "-m"}


def test_all_verbs_spell_an_option_the_same_way() -> None:
    for _, command in below(cli):
        options = [each.opts for each in command.params if isinstance(each, click.Option)]
        assert not any("--cwd" in each for each in options), command.name
        for long, short in _SHORT.items():
            given = [each for each in options if long in each or short in each]
            assert all({long, short} <= {*each} for each in given), (command.name, long)
