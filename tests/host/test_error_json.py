"""Tests of errors that another process sends as JSON."""

from __future__ import annotations

import copy
import errno
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from microvm import errors
from microvm.cache import trust
from microvm.errors import GuestDied, MicroVMError
from microvm.supervisor.error_json import from_json, to_json

MADE: dict[type[MicroVMError], tuple[Any, ...]] = {
    errors.VersionMismatch: ((3, 1 << 63), (2, 5)),
    errors.ExecTimeout: ("sleep", 1.5, ["sleep", b"9"]),
    errors.OutputLimit: ("yes", 7),
    errors.MemoryLimit: ("tail", 7),
    errors.StreamError: (errno.ECONNREFUSED, 80),
    errors.NotRun: (GuestDied("the guest died", hint="start another"),),
}


def examples() -> Iterator[MicroVMError]:
    """Return an error of each class, with a value in each of its attributes."""
    for kind in vars(errors).values():
        if not isinstance(kind, type) or not issubclass(kind, MicroVMError):
            continue
        error: MicroVMError
        if issubclass(kind, errors.FileError):
            error = kind(errno.EXDEV, "/a\udcff", hint="b")
        elif issubclass(kind, errors.StartError):
            error = kind("chdir", errno.ENOENT, "make", "/src")
        elif kind in MADE:
            error = kind(*MADE[kind])
        else:
            error = kind("what", hint="what to do")
        error.detail = "one line\nanother \udcff"
        if isinstance(error, errors.QemuError | errors.MachineError):
            error.qemu_exit = errors.QemuExit("killed", "it was killed", -9, "why?")
        if isinstance(error, errors.IncompleteRead):
            error.partial, error.expected = b"\xff", 2
        if isinstance(error, errors.ExecKilled):
            error.stdout, error.stderr = b"\xff\0", "text"
            error.returncode = -9
        yield error


def crossed(error: BaseException) -> MicroVMError:
    return from_json(json.loads(json.dumps(to_json(error))))


@pytest.mark.parametrize("error", [*examples()], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("crossed", [crossed, copy.copy])
def test_an_error_survives_the_conversion(
    error: MicroVMError, crossed: Callable[[MicroVMError], MicroVMError]
) -> None:
    again = crossed(error)
    assert type(again) is type(error)
    assert (str(again), again.args) == (str(error), error.args)
    assert to_json(again) == to_json(error)
    assert {name: type(value) for name, value in vars(again).items()} == {
        name: type(value) for name, value in vars(error).items()
    }
    assert again.exit_status == error.exit_status
    for name in ("errno", "strerror", "filename"):
        assert getattr(again, name, None) == getattr(error, name, None)


def test_an_error_of_another_library_becomes_text() -> None:
    again = crossed(OSError(errno.ENOSPC, "No space left on device"))
    assert type(again) is MicroVMError
    assert str(again) == "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "text",
        [],
        {},
        {"kind": "GuestDied"},
        {**to_json(GuestDied("x")), "message": 7},
        {**to_json(GuestDied("x")), "kind": []},
        {**to_json(GuestDied("x")), "attributes": {"qemu_exit": {"QemuExit": {"no": 1}}}},
        {**to_json(GuestDied("x")), "attributes": {"a": {"bytes": "é"}}},
        {**to_json(GuestDied("x")), "attributes": []},
    ],
)
def test_invalid_json_gives_an_error_that_says_so(value: object) -> None:
    assert "cannot be decoded" in str(from_json(value))


def test_an_unknown_error_class_keeps_its_message() -> None:
    again = from_json({**to_json(GuestDied("x", hint="y", detail="z")), "kind": "Flooded"})
    assert (type(again), again.message, again.hint, again.detail) == (MicroVMError, "x", "y", "z")


def test_an_internal_error_class_arrives_as_its_public_base() -> None:
    error = trust.Untrusted("it cannot be trusted", hint="chmod")
    error.path, error.by = Path("/x"), "mode"
    told = crossed(error)
    assert (type(told), told.message, told.hint) == (errors.CacheError, error.message, error.hint)
