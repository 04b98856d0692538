"""The configuration of an image: what a command in it has unless its user says something else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

from microvm.options import ExecOptions


class Config(NamedTuple):
    """The defaults of a run, as the configuration of an OCI image has them.

    :ivar env: variables as `NAME=VALUE`; of two with one name the later counts.
    :ivar workdir: the working directory; empty for the home of the user.
    :ivar user: a name or number, either with `:GROUP`; empty for root.
    :ivar entrypoint: what `microvm run` puts before the command.
    :ivar cmd: what `microvm run` runs behind the entrypoint where it is given no command.
    """

    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()

    def check(self) -> Self:
        """Return it, if commands can be given all that it says.

        :raises ValueError: a variable has no name, or a text has what no command can be given.
        """
        for entry in self.env:
            if not entry.partition("=")[0] or "=" not in entry:
                raise ValueError(f"{entry!r} is no variable: it is not NAME=VALUE")
        for text in (*self.env, self.workdir, self.user, *self.entrypoint, *self.cmd):
            if "\0" in text:
                raise ValueError(f"{text!r} has a NUL in it")
            text.encode("utf-8", "surrogateescape")  # as it goes to the guest
        return self

    @property
    def options(self) -> ExecOptions:
        """The options that every command in a machine of the image has by default."""
        variables = (entry.partition("=") for entry in self.env)
        return {
            "env": {name: value for name, _, value in variables},
            "cwd": self.workdir or None,
            "user": self.user or None,
        }

    def argv(self, command: Sequence[str], entrypoint: str | None = None) -> tuple[str, ...]:
        """Return the command line of a run, by docker's rules; empty where nothing says it.

        :param command: what the user gives, which is in the place of `cmd`.
        :param entrypoint: in the place of the image's own, whose `cmd` it has no use for; empty for
            none.
        """
        if entrypoint is not None:
            return (*([entrypoint] if entrypoint else []), *command)
        return (*self.entrypoint, *(command or self.cmd))
