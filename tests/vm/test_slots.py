"""Tests that several commands at once in a real guest have a cgroup each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.spec_client import SpecHost, SpecOutcome, encode

pytestmark = pytest.mark.thorough

SIGKILL = 9
OUT_OF_MEMORY = 2
MIB = 1 << 20
COUNT = 16
OWN = "sed -n s,^0::,,p /proc/self/cgroup"


def beside(host: SpecHost, script: str, **options: Any) -> int:
    """Start a script that waits for a line, beside other commands. Return the command's id."""
    script = f"read line; {script}"
    return host.start(b"sh", b"-c", script.encode(), fed=True, beside=True, **options)


def end(host: SpecHost, id_: int) -> SpecOutcome:
    """Send a line to a script, wait until it exits, and return its result."""
    host.id = id_
    host.type(b"\n")
    return host.finish()


def end_all(host: SpecHost, ids: Iterable[int]) -> list[SpecOutcome]:
    return [end(host, id_) for id_ in ids]


def run(host: SpecHost, script: str) -> bytes:
    outcome = host.run(b"sh", b"-c", script.encode())
    assert outcome.exit_code == 0
    return outcome.stdout.strip()


def test_each_command_has_its_own_cgroup(host: SpecHost) -> None:
    for _ in range(2):
        ids = [beside(host, OWN) for _ in range(COUNT)]
        names = {outcome.stdout for outcome in end_all(host, ids)}
        assert len(names) == COUNT


def test_limits_are_of_one_command(host: SpecHost) -> None:
    forks = "(sleep 0.1 & sleep 0.1 & wait) 2>/dev/null && echo forked"
    limited, free = beside(host, forks, max_processes=2), beside(host, forks)
    assert end(host, free).stdout == b"forked\n"
    assert end(host, limited).stdout == b""
    hungry = "dd if=/dev/zero of=/dev/null bs=60M count=1 2>/dev/null && echo enough"
    limited, free = beside(host, hungry, max_memory=20 * MIB), beside(host, hungry)
    killed = end(host, limited).end
    assert (killed["ending"], killed["status"]) == (OUT_OF_MEMORY, SIGKILL)
    enough = end(host, free)
    assert (enough.stdout, enough.exit_code) == (b"enough\n", 0)
    # The next command in the same slot has no limit, and does not inherit the report of the last
    # one.
    assert end(host, beside(host, hungry)).stdout == b"enough\n"


def test_kill_ends_only_the_processes_of_its_command(host: SpecHost) -> None:
    left = "setsid sleep 300 & echo $!; exec sleep 300"
    killed, other = beside(host, left), beside(host, left)
    pids = []
    for host.id in killed, other:
        host.type(b"\n")
        host.read_until(b"\n")
        pids.append(host.commands[host.id].output[1].decode().strip())
    host.id = killed
    host.say("exec_kill")
    assert host.finish().signal == SIGKILL
    gone = f"until ! kill -0 {pids[0]} 2>/dev/null; do sleep 0.01; done; kill -0 {pids[1]}"
    assert end(host, beside(host, gone)).exit_code == 0
    host.id = other
    host.say("exec_kill")
    assert host.finish().signal == SIGKILL


def test_processes_that_each_command_leaves_are_frozen(host: SpecHost) -> None:
    folder = run(host, "mktemp -d")
    name = folder.decode()
    count = f"while echo >>{name}/$line; do sleep 0.01; done"
    ids = [beside(host, f"({count}) >/dev/null 2>&1 &") for _ in range(COUNT)]
    for number, host.id in enumerate(ids):
        host.type(b"%d\n" % number)
        assert host.finish().exit_code == 0
    run(host, f"until [ $(ls {name} | wc -l) = {COUNT} ]; do sleep 0.01; done")
    host.send(encode("keep"))
    host.greet(resume=False)
    before, after = run(host, f"for i in 1 2; do cat {name}/* | wc -c; sleep 0.3; done").split()
    assert before == after
    host.resume()
    run(host, f"rm {name}/*; until [ $(ls {name} | wc -l) = {COUNT} ]; do sleep 0.01; done")
    host.greet()
    run(host, f"rm -r {name}")
