"""Tests of the client that was written from the specification alone, with a real guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.spec_client import SpecHost, encode
from tests.spec_scenes import IN_GUEST
from tests.support.machine import RunningGuest

from microvm.images import Image

from .conftest import DEADLINE
from .test_reopened import Reopened

pytestmark = pytest.mark.thorough

LIMIT = 9


@pytest.mark.parametrize("play", IN_GUEST, ids=lambda play: play.__name__)
def test_guest_behaves_as_specified(host: SpecHost, play: Callable[[SpecHost], None]) -> None:
    play(host)


def test_nothing_is_sent_before_hello_and_hello_ends_processes(host: SpecHost) -> None:
    left = host.run(b"sh", b"-c", b"setsid sleep 300 & echo $!").stdout.strip()
    assert host.run(b"kill", b"-0", left).exit_code == 0
    host.greet()
    assert host.run(b"kill", b"-0", left).exit_code == 1


def test_kill_ends_a_command_with_all_its_children(host: SpecHost) -> None:
    host.send(encode("keep"))
    host.start(b"sh", b"-c", b"setsid sh -c 'echo $$; exec sleep 300' & sleep 300")
    host.read_until(b"\n")
    host.resume()
    host.say("exec_kill")
    left = host.finish().stdout.strip()
    # A killed process exists until it is reaped; a process that survived exists for longer.
    script = b"while kill -0 %s; do sleep 0.01; done" % left
    assert host.run(b"sh", b"-c", script).exit_code == 0


def test_command_can_read_its_cgroup(host: SpecHost) -> None:
    seen = host.run(b"cat", b"/proc/self/cgroup").stdout.split(b"\n")
    assert any(line.removeprefix(b"0::/").isdigit() for line in seen)


@pytest.mark.parametrize(
    ("controller", "limit", "expected"),
    [
        ("pids", "max_processes", ("exec_response", 0)),
        ("memory", "max_memory", ("exec_failed", LIMIT)),
    ],
)
def test_limit_that_the_kernel_cannot_set_is_a_failure(
    image: Image, tmp_path: Path, controller: str, limit: str, expected: tuple[str, int]
) -> None:
    guest = Reopened(image, tmp_path, kernel=f"cgroup_disable={controller}")
    try:
        with guest.open() as port:
            host = SpecHost(port, deadline=DEADLINE)
            host.greet()
            script = b"for i in 1 2 3 4; do sleep 0.1 & done; wait"
            end = host.run(b"sh", b"-c", script, **{limit: 2}).end
            assert (host.run(b"true").end["memory"] == 0) == (controller == "memory")
    finally:
        guest.close()
    assert (end.name, end["status" if end.name == "exec_response" else "stage"]) == expected


def test_last_message_is_goodbye(machine: RunningGuest, host: SpecHost) -> None:
    assert host.shutdown() == 1
    assert machine.stream.recv(1) == b""
