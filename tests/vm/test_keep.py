"""Tests that kept processes are frozen until a clone has its own clock, entropy and ids."""

from __future__ import annotations

import asyncio
import re

import pytest
from tests.spec_client import SpecHost, encode

from microvm import MicroVM
from microvm.images import Image

BOOT_ID = "/proc/sys/kernel/random/boot_id"
MACHINE_ID = "/etc/machine-id"
SEVERAL = 70
"""A number of commands with remaining processes that exceeds the list of the daemon."""


def sh(host: SpecHost, script: str) -> bytes:
    outcome = host.run(b"sh", b"-c", script.encode())
    assert outcome.exit_code == 0, outcome
    return outcome.stdout.strip()


def greet_kept(host: SpecHost) -> None:
    """Send a hello that keeps the running processes, frozen."""
    host.send(encode("keep"))
    host.greet(resume=False)


@pytest.mark.parametrize("greeted", [False, True])
def test_kept_machine_is_frozen_until_resume(host: SpecHost, greeted: bool) -> None:
    counts = "while echo >>/tmp/%s; do sleep 0.01; done"
    sh(host, f"({counts % 'own'}) & setsid sh -c '{counts % 'other'}' &")
    both = "until [ -s /tmp/own ] && [ -s /tmp/other ]; do sleep 0.01; done"
    sh(host, both)
    host.send(encode("keep"))
    if greeted:
        host.greet(resume=False)
    before, after = sh(
        host, "for i in 1 2; do cat /tmp/own /tmp/other | wc -c; sleep 0.3; done"
    ).split()
    assert before == after
    host.resume()
    sh(host, f"rm /tmp/own /tmp/other; {both}")


@pytest.mark.thorough
def test_any_number_of_commands_is_frozen_and_resumed(host: SpecHost) -> None:
    for _ in range(SEVERAL):
        sh(host, "sleep 1000 &")
    greet_kept(host)
    frozen = "cat /sys/fs/cgroup/[0-9]*/cgroup.events | grep -c 'frozen 1'"
    assert int(sh(host, frozen)) >= SEVERAL
    host.resume()
    assert sh(host, f"{frozen}; true") == b"0"


def test_resumed_processes_find_a_new_boot_id(host: SpecHost) -> None:
    before = sh(host, f"cat {BOOT_ID}")
    sh(host, f"while cat {BOOT_ID} >>/tmp/seen; do sleep 0.01; done &")
    sh(host, "until [ -s /tmp/seen ]; do sleep 0.01; done")
    greet_kept(host)
    assert sh(host, f"rm /tmp/seen; cat {BOOT_ID}") == before
    host.resume()
    seen = sh(host, "until [ -s /tmp/seen ]; do sleep 0.01; done; sort -u /tmp/seen")
    assert seen == sh(host, f"cat {BOOT_ID}") != before
    assert re.fullmatch(
        rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", seen
    )


def test_the_boot_id_is_a_file_that_can_be_watched(host: SpecHost) -> None:
    look = "stat -c '%a %s %i' /run/microvm/boot_id; stat -c %y /run/microvm/boot_id"
    before, then = sh(host, look).split(b"\n")
    host.resume()
    after, now = sh(host, look).split(b"\n")
    assert before == after
    assert before.startswith(b"444 37 ")
    assert then < now
    assert sh(host, f"cmp {BOOT_ID} /run/microvm/boot_id; stat -c %a /run/microvm") == b"755"


def test_a_machine_id_is_renewed_where_one_is(host: SpecHost) -> None:
    old = "0123456789abcdef" * 2
    sh(host, f"echo {old} >{MACHINE_ID}")
    host.resume()
    new = sh(host, f"cat {MACHINE_ID}; stat -c %s {MACHINE_ID}")
    assert re.fullmatch(rb"[0-9a-f]{32}\n33", new)
    assert not new.startswith(old.encode())
    sh(host, f"echo other >/tmp/other; ln -sf /tmp/other {MACHINE_ID}")
    host.resume()
    assert sh(host, f"cat {MACHINE_ID}; rm {MACHINE_ID}; >{MACHINE_ID}") == b"other"
    host.resume()
    assert sh(host, f"wc -c <{MACHINE_ID}; rm {MACHINE_ID}") == b"0"
    host.resume()
    sh(host, f"! [ -e {MACHINE_ID} ]")


def test_no_fifo_in_the_place_of_an_id_holds_up_the_guest(host: SpecHost) -> None:
    sh(host, f"mkfifo {MACHINE_ID}; mv /run/microvm/boot_id /run/kept; mkfifo /run/microvm/boot_id")
    host.resume()
    sh(host, f"rm {MACHINE_ID} /run/microvm/boot_id; mv /run/kept /run/microvm/boot_id")


async def test_clones_are_no_twins(image: Image) -> None:
    async with MicroVM(image) as one, MicroVM(image) as other:
        ids = await asyncio.gather(*(vm.run(["cat", BOOT_ID]) for vm in (one, other)))
    assert ids[0].stdout != ids[1].stdout
