"""Tests of a command that changes the machine on which it runs."""

from __future__ import annotations

import pytest

from microvm.sync import MicroVM
from microvm.testing import MicroVMFactory

NAMES = ["one.example", "two.example"]


def blocklist(vm: MicroVM, *words: str, user: str = "root") -> tuple[int, str]:
    """Run the command, and return its status and all its output."""
    done = vm.run(["blocklist", *words], user=user, text=True)
    return done.returncode, done.stdout + done.stderr


def test_added_names_are_listed(microvm: MicroVM) -> None:
    assert blocklist(microvm, "add", *NAMES) == (0, "")
    assert blocklist(microvm) == (0, "one.example\ntwo.example\n")


def test_the_system_uses_the_blocklist(microvm: MicroVM) -> None:
    assert blocklist(microvm, "add", NAMES[0]) == (0, "")
    found = microvm.run(["getent", "hosts", NAMES[0]], text=True, check=True)
    assert found.stdout.startswith("0.0.0.0 ")


@pytest.mark.parametrize("names", [NAMES, [*NAMES, *NAMES], NAMES[::-1]])
def test_remove_restores_the_file(microvm: MicroVM, names: list[str]) -> None:
    before = microvm.read_file("/etc/hosts")
    blocklist(microvm, "add", *NAMES)
    assert blocklist(microvm, "remove", *names) == (0, "")
    assert microvm.read_file("/etc/hosts") == before


def test_a_full_disk_leaves_the_file_unchanged(microvm: MicroVM) -> None:
    before = microvm.read_file("/etc/hosts")
    microvm.run(["sh", "-c", "cat /dev/zero >/fill; cat /dev/zero >>/etc/.fill"])
    status, output = blocklist(microvm, "add", *(f"{n}.example" for n in range(1000)))
    assert status == 1
    assert "No space left on device" in output
    assert microvm.read_file("/etc/hosts") == before


def test_other_users_are_refused(microvm: MicroVM) -> None:
    status, output = blocklist(microvm, "add", *NAMES, user="nobody")
    assert status == 1
    assert "Permission denied" in output


def test_two_machines_are_independent(microvm_factory: MicroVMFactory) -> None:
    one, two = microvm_factory(), microvm_factory()
    blocklist(one, "add", *NAMES)
    assert blocklist(two) == (0, "\n")


def test_help_is_printed(microvm_session: MicroVM) -> None:
    status, output = blocklist(microvm_session, "help")
    assert status == 1
    assert "blocklist add NAME" in output
