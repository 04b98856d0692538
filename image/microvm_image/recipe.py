"""The recipe of an image: what it is made from, and what comes on top of that.

The command line and a machine file say the same things, and both become a `Recipe`. It holds no
content: the name of an image digests that, too, and `microvm_image.build` puts both together.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from microvm.errors import UsageError
from microvm.images.config import ImageConfig

_SHELL = ("sh", "-c")


def shell(text: str) -> tuple[str, ...]:
    """Return the command that a text means, which a shell in the guest reads."""
    return (*_SHELL, text)


def shown(command: tuple[str, ...]) -> str:
    """Return a command as its user wrote it: the shell's text, or words as a shell takes them."""
    return command[-1] if command[:-1] == _SHELL else shlex.join(command)


@dataclass(frozen=True, slots=True)
class AddStep:
    """A step that puts a file or a folder of the host, with all that is in it, into the image.

    :ivar source: where it is.
    :ivar target: where it will be: a path from the root; with a slash at its end, a file keeps its
        own name there.
    """

    source: Path
    target: str

    def __post_init__(self) -> None:
        if not self.target.startswith("/") or "\0" in self.target:
            raise UsageError(f"{self.target!r} is no path from the image's root", hint="such as /x")

    @classmethod
    def parse(cls, text: str) -> AddStep:
        """Return the step that `SOURCE:TARGET` means.

        :raises UsageError: it is not that.
        """
        source, colon, target = text.rpartition(":")
        if not (source and colon and target):
            raise UsageError(f"{text!r} is not SOURCE:TARGET", hint="such as app.py:/srv/app.py")
        return cls(Path(source), target)

    def __str__(self) -> str:
        return f"add {self.source}:{self.target}"


@dataclass(frozen=True, slots=True)
class RunStep:
    """A step that runs a command in a machine of the image so far, and keeps what it changed."""

    command: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_command(self.command)

    def __str__(self) -> str:
        return f"run {shown(self.command)}"


Step = AddStep | RunStep


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of an image.

    :ivar source: what it is made from, as `--from` says it; empty for the base of the default
        image.
    :ivar packages: what is installed where the source is a distribution.
    :ivar steps: what is done with that, in this order.
    :ivar warm: commands that run before a guest is saved as a template.
    :ivar env: variables as `NAME=VALUE`, over those of the source; the steps have them, too.
    :ivar workdir: the working directory of a run, and of commands that are steps; this and the
        other three are None where the source's own stays.
    :ivar folder: the folder that relative paths are in.
    :ivar allowed: the files and folders of the host that the source and the steps may use, with
        everything in them; None for all.
    """

    source: str = ""
    packages: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    warm: tuple[tuple[str, ...], ...] = ()
    env: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    folder: Path = Path()
    allowed: tuple[Path, ...] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        for command in self.warm:
            _check_command(command)
        try:
            self.config(ImageConfig()).check()
        except ValueError as error:
            raise UsageError(str(error)) from None

    def config(self, source: ImageConfig) -> ImageConfig:
        """Return what a run of the image has by default.

        As docker does it, an entrypoint of one's own takes the source's command away.

        :param source: the same of the source.
        """
        cmd = self.cmd
        if cmd is None:
            cmd = source.cmd if self.entrypoint is None else ()
        return ImageConfig(
            env=(*source.env, *self.env),
            workdir=source.workdir if self.workdir is None else self.workdir,
            user=source.user if self.user is None else self.user,
            entrypoint=source.entrypoint if self.entrypoint is None else self.entrypoint,
            cmd=cmd,
        )

    def path(self, text: str | Path) -> Path:
        """Return the path of a file or folder that the recipe names.

        :raises UsageError: it is outside the allowed files and folders.
        """
        path = self.folder / text
        if self.allowed is None:
            return path
        try:
            real, *within = (each.resolve() for each in (path, *self.allowed))
        except (OSError, RuntimeError) as error:  # RuntimeError if links lead in a circle
            raise UsageError(f"{text}: cannot be read: {error}") from None
        if not any(real.is_relative_to(each) for each in within):
            raise UsageError(
                f"{text} is outside the folder of the machine file: it leads to {real}",
                hint=f"to use it in the image, add `--allow {shlex.quote(str(real))}`",
            )
        return path if path.is_symlink() else real

    def history(self) -> Iterator[str]:
        """Yield a line for each thing that it puts on top of its source."""
        if self.packages:
            yield f"package {' '.join(self.packages)}"
        yield from map(str, self.steps)
        yield from (f"env {variable}" for variable in self.env)
        for name in ("workdir", "user"):
            if (text := getattr(self, name)) is not None:
                yield f"{name} {text}"
        for name in ("entrypoint", "cmd"):
            if (command := getattr(self, name)) is not None:
                yield f"{name} {shlex.join(command)}"


def _check_command(command: tuple[str, ...]) -> None:
    if not command or not command[0]:
        raise UsageError("a command without a name")
    if any("\0" in word for word in command):
        raise UsageError(f"{shown(command)!r} has a NUL in it")
