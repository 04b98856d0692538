"""Tests of the errors that explain what pip says. The texts are those of pip 22.3 to 26."""

from __future__ import annotations

import pytest

from microvm_image.pip import refusals
from microvm_image.pip.guest_python import GuestPython

GUEST = GuestPython("3.12.4", "x86_64", ("musllinux_1_2_x86_64",), has_pip=True)
RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after "
    "connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection "
    "object at 0x7f>: Failed to establish a new connection: [Errno -3] Temporary failure in name "
    "resolution')': /simple/six/\n"
)
NONE = "ERROR: Could not find a version that satisfies the requirement six (from versions: none)\n"
OTHER = (
    "ERROR: Could not find a version that satisfies the requirement six>3,<4 (from app) "
    "(from versions: 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)\n"
)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (RETRY + NONE, "the index cannot be reached: Temporary failure in name resolution"),
        (RETRY, "the index cannot be reached: Temporary failure in name resolution"),
        (
            # the second attempt succeeded
            RETRY + OTHER,
            "no version six>3,<4, which app needs, has a wheel for Python 3.12 on x86_64 with musl",
        ),
        (NONE, "the index has no package six, or none for Python 3.12 on x86_64 with musl"),
        (
            "ERROR: HTTP error 403 while getting https://index/six.whl\n"
            "ERROR: 403 Client Error: Forbidden for url: https://index/six.whl\n",
            "the index answered 403 while getting https://index/six.whl",
        ),
        (
            "ERROR: Hashes are required in --require-hashes mode, but they are missing from some "
            "requirements. Here is a list of those requirements along with the hashes their "
            "downloaded archives actually had.\n    six==1.17.0 --hash=sha256:47\n",
            "six has no hash, but other packages of the list have one",
        ),
        (
            "ERROR: Cannot install one and two because these package versions have conflicting "
            "dependencies.\nERROR: ResolutionImpossible: for help visit https://docs\n",
            "the requested versions conflict",
        ),
        ("Traceback\nMemoryError\nERROR: Exception:\n", "the metadata of a package is too large"),
        ("ERROR: first\nmore\nERROR: second of them\n", "second of them"),
    ],
)
def test_error_of_pip_is_explained(output: str, message: str) -> None:
    error = refusals.explain(output, GUEST, lambda _: False)
    assert error is not None
    assert error.message.startswith(f"cannot get Python packages: {message}")
    assert "\n" not in str(error)


def test_newest_versions_with_a_wheel_are_named() -> None:
    error = refusals.explain(OTHER, GUEST, lambda _: True)
    assert error is not None
    assert error.hint == "versions that have one: 1.1, 1.2, 1.3, 1.4, 1.5"


def test_unknown_output_is_not_explained() -> None:
    assert refusals.explain("Killed\n", GUEST, lambda _: True) is None
