"""The configuration of an image: the default options of commands in the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from microvm.options import ExecOptions


class ImageConfig(NamedTuple):
    """The default options of commands in an image, as in the configuration of an OCI image.

    :ivar env: Variables as `NAME=VALUE`; if a name occurs twice, the later one counts.
    :ivar workdir: The working directory; empty for the home of the user.
    :ivar user: The user's name or number, optionally with `:GROUP`; empty for root.
    :ivar entrypoint: The words that `microvm run` puts before the command.
    :ivar cmd: The command that `microvm run` runs if it is given none.
    """

    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()

    def check(self) -> Self:
        """Check that commands can be started with the configuration, and return it.

        :raises ValueError: A variable has no name, or a text has a NUL or cannot be encoded.
        """
        for entry in self.env:
            if not entry.partition("=")[0] or "=" not in entry:
                raise ValueError(f"the variable {entry!r} is not NAME=VALUE")
        for text in (*self.env, self.workdir, self.user, *self.entrypoint, *self.cmd):
            if "\0" in text:
                raise ValueError(f"{text!r} has a NUL in it")
            # encode the text only to raise an error if it cannot be encoded for the guest
            text.encode("utf-8", "surrogateescape")
        return self

    @property
    def options(self) -> ExecOptions:
        """The environment, working directory and user of commands, as options of `MicroVM.run`."""
        variables = (entry.partition("=") for entry in self.env)
        return {
            "env": {name: value for name, _, value in variables},
            "cwd": self.workdir or None,
            "user": self.user or None,
        }

    def argv(self, command: Sequence[str], entrypoint: str | None = None) -> tuple[str, ...]:
        """Return the command to run: `entrypoint` and `command`, or the defaults of the image.

        :param command: The user's command, which replaces `cmd`.
        :param entrypoint: A replacement of the image's entrypoint, which also disables `cmd`; ""
            for none.
        """
        if entrypoint is not None:
            return (*([entrypoint] if entrypoint else []), *command)
        return (*self.entrypoint, *(command or self.cmd))
