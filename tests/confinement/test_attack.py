"""Tests of an attacker with the credentials and descriptors of QEMU; see docs/security.md."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from tests.confinement.attacker import (
    DISK,
    Attacker,
    Start,
    attacker,
    by_launcher,
    by_microvm,
    plainly,
)
from tests.confinement.scene import (
    SUCCEEDED,
    AttackScene,
    attempts,
    launcher,
    ordinary,
    scene,
    successes,
)
from tests.confinement.table import PAGE, counts
from tests.support.ordinary import only_root
from tests.support.polling import eventually
from tests.support.processes import is_alive

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the confinement is Linux's")

NAMESPACES = "user pid net ipc uts mount".split()

#: Groups of layers that a host may lack. Without any one group, no attempt may succeed.
MISSING = {
    "nothing": [],
    "namespaces": NAMESPACES,
    "landlock": ["landlock"],
    "the root": ["mount"],
    "a user namespace": ["user"],
    "pid": ["pid"],
}

#: Additional files that a machine may write if it uses KVM, or if its guest is saved.
WRITES = {"a device": ["--device", "/dev/zero"], "a file": ["--writable", DISK]}

WHO = [pytest.param(False, id="user"), pytest.param(True, id="root", marks=only_root)]


@contextmanager
def attacked(root: bool, start: str, *options: str) -> Iterator[tuple[AttackScene, Attacker]]:
    """Two machines of one user, one of which has attacked everything else."""
    user = None if root else ordinary()

    def way(at: AttackScene) -> Start:
        if start == "microvm":
            return by_microvm(at)
        return by_launcher(at, launcher(), *options)

    with scene(user) as place, scene(user) as other, attacker(other, way(other), idle=1) as sibling:
        place.mark()
        pid = sibling.process.pid
        with attacker(place, way(place), sibling=pid) as found:
            yield place, found
            assert is_alive(pid)


def test_names_of_attacks_are_unique_and_many() -> None:
    names = [attempt.name for attempt in attempts()]
    assert len(names) == len({*names})
    assert len(names) >= 60


def test_page_names_all_attacks() -> None:
    page = PAGE.read_text()
    said = re.search(r"tries (\d+) attacks.*and (\d+) of them", page, re.DOTALL)
    assert said is not None
    assert tuple(map(int, said.groups())) == counts()


def test_attacks_succeed_without_confinement() -> None:
    """Otherwise the refusals in the other tests would prove nothing."""
    user = ordinary()
    with scene(user) as place, scene(user) as other, ExitStack() as stack:
        sibling = stack.enter_context(attacker(other, plainly(other), idle=1))
        place.mark()
        found = stack.enter_context(
            attacker(place, plainly(place), sibling=sibling.process.pid)
        ).results
        expected = {attempt.name for attempt in attempts() if attempt.danger == "open"}
        assert {name for name in expected if found[name] != SUCCEEDED} == set()
        harmed = {line.partition(":")[0] for line in place.harm()}
        assert {"template", "ShdPnd", "Max msgqueue size", "niceness"} <= harmed


@pytest.mark.parametrize("root", WHO)
@pytest.mark.parametrize("start", ["launcher", "microvm"])
def test_attacks_fail_with_confinement(root: bool, start: str) -> None:
    with attacked(root, start) as (place, found):
        assert {*found.results} == {attempt.name for attempt in attempts()}
        assert successes(found.results) == []
        assert place.harm() == []


@pytest.mark.thorough
@pytest.mark.parametrize("root", WHO)
@pytest.mark.parametrize("missing", MISSING)
def test_attacks_fail_if_one_layer_is_missing(root: bool, missing: str) -> None:
    options = [word for layer in MISSING[missing] for word in ("--without", layer)]
    with attacked(root, "launcher", *options) as (place, found):
        assert successes(found.results) == []
        assert place.harm() == []


@pytest.mark.parametrize("root", WHO)
@pytest.mark.parametrize("writes", WRITES)
def test_program_with_a_writable_file_writes_nothing_else(root: bool, writes: str) -> None:
    """Without Landlock, since the filter then allows to open files for writing."""
    options = ["--without", "landlock", *WRITES[writes]]
    with attacked(root, "launcher", *options) as (place, found):
        assert successes(found.results) == []
        assert place.harm() == []


@pytest.mark.thorough
@pytest.mark.parametrize("root", WHO)
def test_attacker_dies_with_its_controller(root: bool) -> None:
    """Its attempts to prevent this have no effect."""
    with attacked(root, "microvm") as (_, found):
        os.kill(found.process.controller, signal.SIGKILL)
        eventually(lambda: not is_alive(found.process.pid))
