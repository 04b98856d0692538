"""Tests of the classification of QEMU's exit statuses, without QEMU."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from microvm import cache
from microvm.errors import QemuExit
from microvm.qemu.exit import classify

NO_MEMORY = "qemu-system-x86_64: cannot set up guest memory 'ram': Cannot allocate memory\n"
ERRORS = "qemu-system-x86_64: warning\nqemu-system-x86_64: -bogus: no\n"
UNKNOWN: dict[str, Any] = {
    "reason": None,
    "internal_error": False,
    "panic": None,
    "stderr": "",
    "killed_as": None,
    "write_error": "",
}


def classified(returncode: int, **found: Any) -> QemuExit:
    return classify(returncode, **{**UNKNOWN, **found})


@pytest.mark.parametrize(
    ("returncode", "found", "kind", "text"),
    [
        (0, {"reason": "guest-reset"}, "reset", "the guest"),
        (0, {"reason": "guest-shutdown"}, "shutdown", "the guest"),
        (0, {"reason": "guest-panic"}, "panic", "the guest"),
        (0, {"reason": "guest-reset", "panic": "oops"}, "panic", "the guest kernel crashed: oops"),
        (0, {"reason": "host-signal", "panic": "oops"}, "killed", "QEMU"),
        (-9, {"killed_as": "ended"}, "quit", "QEMU was shut down by microvm"),
        (0, {"killed_as": "ended", "reason": "guest-reset"}, "reset", "the guest"),
        (-11, {"killed_as": "ended"}, "crash", "QEMU was killed by signal 11"),
        (-9, {"killed_as": "stopped"}, "killed", "QEMU was stopped by a signal"),
        (-9, {"internal_error": True}, "internal_error", "KVM internal error"),
        (-7, {}, "crash", "QEMU was killed by signal 7 (SIGBUS)"),
        (
            -6,
            {"stderr": "error\nfailed\n"},
            "crash",
            "QEMU was killed by signal 6 (SIGABRT): failed",
        ),
        (-25, {}, "killed", "QEMU was killed by signal 25 (SIGXFSZ)"),
        (1, {"stderr": NO_MEMORY}, "limit", "QEMU"),
        (-6, {"stderr": NO_MEMORY}, "limit", "QEMU"),
        (1, {"stderr": ERRORS}, "exit", "QEMU exited with status 1: -bogus: no"),
        (0, {"reason": "host-ui"}, "exit", "QEMU exited with status 0"),
    ],
)
def test_each_end_of_qemu_has_its_kind_text_and_hint(
    returncode: int, found: dict[str, Any], kind: str, text: str
) -> None:
    end = classified(returncode, **found)
    assert (end.kind, end.returncode) == (kind, returncode)
    assert end.text.startswith(text)
    assert end.hint or found.get("killed_as") == "ended"


@pytest.mark.parametrize(
    ("number", "what", "hint"),
    [
        (errno.ENOSPC, "disk full on the host: ", cache.HINT_FULL),
        (errno.EIO, "the host's disk failed: ", ""),
    ],
)
def test_failed_write_to_scratch_disk(number: int, what: str, hint: str) -> None:
    ending = classified(-9, write_error=os.strerror(number))
    assert ending.text.startswith(what)
    assert ending.text.endswith(os.strerror(number))
    assert (ending.kind, ending.hint) == ("limit", hint)
