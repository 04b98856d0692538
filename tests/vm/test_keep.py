"""What is kept by a hello is frozen until the clock and the entropy are right; in a real guest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.spec_client import Host, encode
from tests.support.machine import Machine

from microvm_image import Image

SEVERAL = 70
"""More commands than the daemon notes that they have left something behind."""


@pytest.fixture(scope="module")
def machine(image: Image) -> Iterator[Machine]:
    """Boot a guest that nobody has greeted."""
    machine = Machine(image)
    yield machine
    machine.close()


@pytest.fixture
def host(machine: Machine) -> Host:
    """Greet it."""
    host = Host(machine.stream, deadline=machine.deadline)
    host.greet(fill=True)
    return host


def sh(host: Host, script: str) -> bytes:
    """Run a script; return what it says."""
    outcome = host.run(b"sh", b"-c", script.encode())
    assert outcome.exit_code == 0, outcome
    return outcome.stdout.strip()


def greet_kept(host: Host) -> None:
    """Greet the guest so that what runs is kept, and frozen."""
    host.send(encode("keep"))
    host.greet(resume=False)


def test_it_is_frozen_until_resume(host: Host) -> None:
    counts = "while echo >>/tmp/%s; do sleep 0.01; done"
    sh(host, f"({counts % 'own'}) & setsid sh -c '{counts % 'other'}' &")
    both = "until [ -s /tmp/own ] && [ -s /tmp/other ]; do sleep 0.01; done"
    sh(host, both)
    greet_kept(host)
    before, after = sh(
        host, "for i in 1 2; do cat /tmp/own /tmp/other | wc -c; sleep 0.3; done"
    ).split()
    assert before == after
    host.resume()
    sh(host, f"rm /tmp/own /tmp/other; {both}")


def test_there_is_no_bound_on_how_many_commands_left_it(host: Host) -> None:
    for _ in range(SEVERAL):
        sh(host, "sleep 1000 &")
    greet_kept(host)
    frozen = "cat /sys/fs/cgroup/[0-9]*/cgroup.events | grep -c 'frozen 1'"
    assert int(sh(host, frozen)) >= SEVERAL
    host.resume()
    assert sh(host, f"{frozen}; true") == b"0"


def test_a_hello_that_keeps_nothing_kills_what_is_frozen(host: Host) -> None:
    pid = sh(host, "sleep 1000 & echo $!").decode()
    greet_kept(host)
    sh(host, f"kill -0 {pid}")
    host.greet(resume=False)
    assert sh(host, f"kill -0 {pid} || echo gone") == b"gone"
    host.resume()
