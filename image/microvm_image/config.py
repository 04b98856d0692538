"""The configuration of an image: what a command in it has unless its user says something else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Config:
    """The defaults of a run, as the configuration of an OCI image has them.

    :ivar env: variables as `NAME=VALUE`; of two with one name the later counts.
    :ivar workdir: the working directory; empty for the home of the user.
    :ivar user: a name or number, either with `:GROUP`; empty for root.
    :ivar entrypoint: what `microvm run` puts before the command.
    :ivar cmd: what `microvm run` runs behind the entrypoint where it is given no command.
    :raises ValueError: a variable has no name, or a text has what no command can be given.
    """

    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for entry in self.env:
            if not entry.partition("=")[0] or "=" not in entry:
                raise ValueError(f"{entry!r} is no variable: it is not NAME=VALUE")
        for text in (*self.env, self.workdir, self.user, *self.entrypoint, *self.cmd):
            if "\0" in text:
                raise ValueError(f"{text!r} has a NUL in it")
            text.encode("utf-8", "surrogateescape")  # as it goes to the guest
