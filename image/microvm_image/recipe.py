"""The recipe of an image: its source, its packages and the steps of its build.

The options of `microvm image build` and the content of a machine file are both converted to a
`Recipe`. A recipe contains only the paths of the files that it adds. The name of an image also
depends on the content of these files; `plan` computes their digests.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from microvm.errors import UsageError
from microvm.images.config import ImageConfig
from microvm_image.pip import requirements

_SHELL = ("sh", "-c")


def shell(text: str) -> tuple[str, ...]:
    """Return the command and arguments that run a shell command in the guest, by `sh -c`."""
    return (*_SHELL, text)


def shown(command: tuple[str, ...]) -> str:
    """Convert a command to one line for the user: a shell command, or its words with quotes."""
    return command[-1] if command[:-1] == _SHELL else shlex.join(command)


@dataclass(frozen=True, slots=True)
class AddStep:
    """A build step that copies a file or folder of the host, with everything in it, into the image.

    :ivar target: The path in the image, from the root. If it ends with a slash, it is a folder in
        which the file gets its own name.
    """

    source: Path
    target: str

    def __post_init__(self) -> None:
        if not self.target.startswith("/") or "\0" in self.target:
            raise UsageError(f"{self.target!r} is no path from the root", hint="such as /x")

    @classmethod
    def parse(cls, text: str) -> AddStep:
        """Create a step from a text of the form `SOURCE:TARGET`.

        :raises UsageError: The text has another form.
        """
        source, colon, target = text.rpartition(":")
        if not (source and colon and target):
            raise UsageError(f"{text!r} is not SOURCE:TARGET", hint="such as app.py:/srv/app.py")
        return cls(Path(source), target)

    def __str__(self) -> str:
        return f"add {self.source}:{self.target}"


@dataclass(frozen=True, slots=True)
class RunStep:
    """A build step that runs a command in the unfinished image, and keeps the changed files."""

    command: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_command(self.command)

    def __str__(self) -> str:
        return f"run {shown(self.command)}"


Step = AddStep | RunStep


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of an image: what the user wants the image to contain.

    :ivar source: The source in the form for `--from`; empty for the source of the default image.
    :ivar packages: The packages to install, if the source is a distribution.
    :ivar pip: The Python packages to install before the steps, such as `numpy>=2`, each a line that
        `requirements.check` accepts.
    :ivar warm: The commands that run before a guest is saved as a template.
    :ivar env: Environment variables of commands as `NAME=VALUE`, which replace the variables of the
        source. The commands of steps also get them.
    :ivar workdir: The working directory of commands, also of the commands of steps; None for the
        working directory of the source.
    :ivar user: The user of commands; None for the user of the source.
    :ivar entrypoint: The entrypoint of commands; None for the entrypoint of the source.
    :ivar cmd: The default command of `microvm run`; None for the default command of the source.
    :ivar folder: The folder of the host at which relative paths start.
    :ivar allowed: The files and folders of the host that the source and the steps may use, with
        everything in them; None for all.
    """

    source: str = ""
    packages: tuple[str, ...] = ()
    pip: tuple[str, ...] = ()
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
        for text in self.pip:
            requirements.check(text)
        try:
            self.config(ImageConfig()).check()
        except ValueError as error:
            raise UsageError(str(error)) from None

    def config(self, source: ImageConfig) -> ImageConfig:
        """Return the default options of commands: those of the recipe override those of `source`.

        As in docker, a recipe that sets an entrypoint disables the default command of the source.

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
        """Return the absolute path of a file or folder that the recipe names.

        :raises UsageError: The path is outside the allowed files and folders.
        """
        path = self.folder / text
        if self.allowed is None:
            return path
        try:
            real, *within = (each.resolve() for each in (path, *self.allowed))
        # RuntimeError is raised if links in the path form a loop
        except (OSError, RuntimeError) as error:
            raise UsageError(f"{text}: cannot be read: {error}") from None
        if not any(real.is_relative_to(each) for each in within):
            raise UsageError(
                f"{text} is outside the folder of the machine file: it leads to {real}",
                hint=f"to use it in the image, add `--allow {shlex.quote(str(real))}`",
            )
        return path if path.is_symlink() else real

    def history(self, pip: Iterable[str] = ()) -> Iterator[str]:
        """Yield lines for `microvm image history`, one for each step or option of the recipe.

        :param pip: The lines for the Python packages of the recipe.
        """
        if self.packages:
            yield f"package {' '.join(self.packages)}"
        yield from pip
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
