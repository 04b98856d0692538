"""Tests that the kernel applies the filter of system calls as its table says."""

from __future__ import annotations

import errno
import platform
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.confined import SYSTEM, confined

Program = Callable[[str], Path]

ONLY_FILTER = ["--without", "landlock", "--without", "mount"]
SINCE = 439  # this kernel may lack allowed calls with higher numbers


def said(launcher: Path, program: Path, *options: str) -> list[list[str]]:
    result = confined(launcher, [*ONLY_FILTER, *options], [program])
    assert (result.failure, result.code) == ("", 0)
    return [line.split() for line in result.output.splitlines()]


def test_every_call_has_the_answer_of_the_table(launcher: Path, program: Program) -> None:
    lines = said(launcher, program("every_call"))
    allowed = {int(number) for word, number, *_ in lines if word == "allowed"}
    missing = {int(number) for word, number, *_ in lines if word == "missing"}
    (newest,) = (int(number) for word, number, *_ in lines if word == "newest")
    answers = {int(words[1]): int(words[2]) for words in lines if words[0] == "call"}
    assert len(answers) > 590
    wrong = {}
    for number, answer in answers.items():
        if number in allowed:
            right = answer != errno.EPERM and (answer != errno.ENOSYS or number >= SINCE)
        elif number in missing or number > newest:
            right = answer == errno.ENOSYS
        else:  # also the calls that are allowed with some arguments, since all arguments were wrong
            right = answer == errno.EPERM
        if not right:
            wrong[number] = errno.errorcode.get(answer, answer)
    assert wrong == {}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other machines have one ABI")
def test_other_forms_of_call_are_refused(launcher: Path, program: Program) -> None:
    lines = said(launcher, program("every_call"))
    assert ["i386", str(errno.EPERM)] in lines
    assert ["call", str(0x40000000 | 39), str(errno.ENOSYS)] in lines


def test_some_calls_are_allowed_with_some_arguments(launcher: Path, program: Program) -> None:
    names = {name: int(answer) for name, answer in said(launcher, program("arguments"))}
    allowed = {name: answer for name, answer in names.items() if answer != errno.EPERM}
    assert allowed == {
        "thread": errno.EINVAL,
        "name": 0,
        "own": 0,
        "self": 0,
        "flags": 0,
        "kvm": errno.ENOTTY,
        "question": 0,
    }


def test_program_without_interpreter_cannot_execute_another(launcher: Path) -> None:
    options = [*SYSTEM, "--without", "pid"]
    result = confined(launcher, options, ["/bin/sh", "-c", "exec /bin/echo here"])
    assert "here" not in result.output
    assert result.code == 126
