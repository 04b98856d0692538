"""The finders of bugs in conversations: traces that are rejected, and the committed vectors."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from . import Mutant

_GUEST = ("ids", "credit", "ending", "keep", "malformed", "handshake")


@dataclass(frozen=True, slots=True)
class Finder:
    """Tests that look for a bug.

    :ivar tests: Arguments of pytest.
    :ivar reason: Text of the error that only this finder raises. Other failures do not count.
    """

    tests: tuple[str, ...]
    reason: str

    def command(self) -> list[str]:
        """Return the command that runs the tests."""
        return [sys.executable, "-m", "pytest", "--maxfail=3", "-m", "not long", *self.tests]

    def has_found(self, said: str) -> bool:
        """Return True if the output of the tests shows an error that this finder raises."""
        return re.search(rf"^E .*{self.reason}", said, re.M) is not None


_REJECTED = "(out of order|no run of the model)"
_VECTOR_TESTS = ("codegen/test_committed_conversations", "host/test_conversation_vectors")

_VECTOR = Finder(
    (
        *(f"tests/{name}.py" for name in (*_VECTOR_TESTS, "guest/test_conversation_vectors")),
        "fuzz/test_conversations.py::test_daemon_refuses_the_faults_in_the_vectors",
    ),
    "disagrees with the vector",
)
_DAEMON_TRACE = Finder(
    (
        "fuzz/daemon/test_daemon.py::test_corpus",
        *(f"tests/guest/test_{name}.py" for name in _GUEST),
        "tests/guest/test_input.py::TestCredit",
        "-k",
        "not hello_of_many",
    ),
    _REJECTED,
)
_HOST_TRACE = Finder(("fuzz/host", "--hypothesis-seed=1"), _REJECTED)


def finder(name: str, mutant: Mutant) -> Finder:
    """Return the finder of this name for a bug: a trace is one of the daemon or of the host.

    Without a bug, the finder records both traces.
    """
    if name == "vector":
        return _VECTOR
    if mutant.kind == "control":
        return Finder((*_HOST_TRACE.tests, *_DAEMON_TRACE.tests), _REJECTED)
    return _HOST_TRACE if mutant.file.startswith("host/") else _DAEMON_TRACE
