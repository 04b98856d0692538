"""The guest's programs `carry` and `relay`, which the host starts as commands of root."""

from __future__ import annotations

from errno import EAGAIN, ENOMEM
from subprocess import PIPE

from microvm.errors import BUILD_AGAIN, ImageError, StartError
from microvm.option import ParsedOptions, parse_options
from microvm.options import ExecOptions

OTHER_SCHEMA = 2
"""Exit status of a program that was built for another version of its protocol."""

# errors of a guest that lacks processes or memory, so that it cannot start a program
_SCARCE = (EAGAIN, ENOMEM)


def program_options(path: str) -> ParsedOptions:
    """Return the options of the command that starts a program as root.

    Only root can execute the paths of the programs. A program can change to another user later.
    """
    given: ExecOptions = {"command": path, "user": 0, "cwd": "/", "stdin": PIPE}
    return parse_options(ExecOptions, given, "exec")


def is_missing(error: StartError) -> bool:
    """Return True if a program could not be started because the image does not contain it."""
    return error.stage == "exec" and error.errno not in _SCARCE


def another_build(failed: str) -> ImageError:
    """Return the error for an image that lacks the program, or contains another version of it.

    :param failed: Start of the message, such as "cannot transfer files".
    """
    return ImageError(
        f"{failed}: the image was built by another version of microvm", hint=BUILD_AGAIN
    )
