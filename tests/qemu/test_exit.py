"""Tests of the classification of QEMU's exit statuses, without QEMU."""

from __future__ import annotations

import errno
import os

import pytest

from microvm import cache
from microvm.errors import QemuExit
from microvm.qemu.exit import KilledAs, classify


def classified(
    returncode: int = 0,
    *,
    reason: str | None = None,
    internal_error: bool = False,
    panic: str | None = None,
    stderr: str = "",
    killed_as: KilledAs | None = None,
    write_error: str = "",
) -> QemuExit:
    return classify(
        returncode,
        reason=reason,
        internal_error=internal_error,
        panic=panic,
        stderr=stderr,
        killed_as=killed_as,
        write_error=write_error,
    )


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("guest-reset", "reset"),
        ("guest-shutdown", "shutdown"),
        ("guest-panic", "panic"),
        ("host-signal", "killed"),
    ],
)
def test_reason_of_a_shutdown_is_classified(reason: str, kind: str) -> None:
    assert classified(reason=reason).kind == kind


def test_panic_on_console_changes_reset_to_panic() -> None:
    assert classified(reason="guest-reset", panic="oops").text == "the guest kernel crashed: oops"


def test_exit_by_itself_outranks_our_kill() -> None:
    assert classified(-9, killed_as="ended").kind == "quit"
    assert classified(killed_as="ended", reason="guest-reset").kind == "reset"
    assert classified(-11, killed_as="ended").kind == "crash"


def test_panic_before_a_signal_is_ignored() -> None:
    assert classified(reason="host-signal", panic="oops").kind == "killed"


def test_internal_error_outranks_the_kill_that_follows() -> None:
    assert classified(-9, internal_error=True).kind == "internal_error"


@pytest.mark.parametrize(
    ("number", "what", "hint"),
    [
        (errno.ENOSPC, "disk full on the host: ", cache.HINT_FULL),
        (errno.EDQUOT, "disk full on the host: ", cache.HINT_FULL),
        (errno.EIO, "the host's disk failed: ", ""),
    ],
)
def test_failed_write_to_scratch_disk(number: int, what: str, hint: str) -> None:
    ending = classified(-9, write_error=os.strerror(number))
    assert ending.text.startswith(what)
    assert ending.text.endswith(os.strerror(number))
    assert (ending.kind, ending.hint) == ("limit", hint)


def test_sigbus_hints_at_a_full_disk() -> None:
    ending = classified(-7)
    assert (ending.kind, ending.text) == ("crash", "QEMU was killed by signal 7 (SIGBUS)")
    assert ending.hint.startswith("check whether the disk ")


def test_exit_by_a_signal_names_it() -> None:
    end = classified(-6, stderr="error\nAssertion failed\n")
    text = "QEMU was killed by signal 6 (SIGABRT): Assertion failed"
    assert (end.kind, end.text, end.returncode) == ("crash", text, -6)
    end = classified(-25)
    assert (end.kind, end.text) == ("killed", "QEMU was killed by signal 25 (SIGXFSZ)")
    assert "dmesg" in end.hint


def test_kill_of_a_stopped_qemu_has_a_reason() -> None:
    end = classified(-9, killed_as="stopped")
    assert end.kind == "killed"
    assert end.text.startswith("QEMU was stopped by a signal")


@pytest.mark.parametrize("returncode", [1, -6])
def test_error_about_a_limit(returncode: int) -> None:
    stderr = "qemu-system-x86_64: cannot set up guest memory 'ram': Cannot allocate memory\n"
    assert classified(returncode, stderr=stderr).kind == "limit"


def test_exit_with_a_status_has_the_text_of_qemu() -> None:
    stderr = "qemu-system-x86_64: warning\nqemu-system-x86_64: -bogus: no\n"
    end = classified(1, stderr=stderr)
    text = "QEMU exited with status 1: -bogus: no"
    assert (end.kind, end.text, end.returncode) == ("exit", text, 1)
    assert classified(0).text == "QEMU exited with status 0"


def test_each_kind_of_exit_has_a_hint() -> None:
    reasons = "guest-reset guest-shutdown guest-panic host-signal".split()
    ends = [classified(reason=reason) for reason in reasons]
    ends += [classified(0), classified(-6), classified(-9), classified(-9, internal_error=True)]
    ends += [classified(-9, killed_as="stopped"), classified(1, stderr=os.strerror(errno.ENOMEM))]
    assert all(end.hint for end in ends)


def test_unknown_reason_counts_as_a_plain_exit() -> None:
    assert classified(0, reason="host-ui").kind == "exit"
