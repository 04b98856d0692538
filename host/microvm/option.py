"""The record of an option, and what is made of it: checks, and a line of help."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar

from microvm.errors import UsageError

F = TypeVar("F", bound=Callable[..., object])

_MODULES = re.compile(r"\b[a-z_]+\.|\s\|\sNone")


def _same(value: Any) -> Any:
    return value


class Option(NamedTuple):
    """The record of an option: all about it that the type checker has no use for.

    :ivar help: what it does, in a sentence or two.
    :ivar read: checks a value and gives what the rest of this library goes by, which it takes, too;
        raises UsageError.
    :ivar default: what is read where nothing is given, or None.
    :ivar shown: the default in words, where its value does not say what it means.
    :ivar unit: what a value is counted in, or how it is put.
    :ivar verbs: which verbs of the command line have it; what `map` has is a key of jobs, too.
    :ivar metavar: what stands for a value on the command line; empty for a flag.
    :ivar short: its one letter there, if it has one.
    :ivar flag_name: Name on the command line and in configuration files; empty if it is `name`.
    :ivar from_text: makes what `read` takes of the text that is written there.
    :ivar multiple: whether it can be given there more than once; `from_text` gets all of the texts.
    :ivar needs: the option without which it means nothing, if there is one.
    :ivar verb_defaults: by verb, as text, the defaults of those that have another one.
    :ivar preset_by: whose file may preset it for the command line: also a `project`'s, which may be
        anybody's, so that this is for what shapes the guest and puts nothing of the host at risk;
        the `user`'s own, and variables; or nobody's.
    :ivar name: as a keyword argument and as a key of jobs; from the class that declares it.
    :ivar type: what a type checker takes; from there, too.
    """

    help: str
    read: Callable[[Any], Any] = _same
    default: object = None
    shown: str = ""
    unit: str = ""
    verbs: tuple[str, ...] = ("run", "map", "exec")
    metavar: str = ""
    short: str = ""
    flag_name: str = ""
    from_text: Callable[[Any], Any] = _same
    multiple: bool = False
    needs: str = ""
    verb_defaults: tuple[tuple[str, str], ...] = ()
    preset_by: Literal["project", "user", "nobody"] = "user"
    name: str = ""
    type: Any = None

    @property
    def default_text(self) -> str:
        """The default, for people."""
        return self.shown or ("none" if self.default is None else str(self.default))

    @property
    def setting(self) -> str:
        """Name of the option on the command line and in configuration files."""
        return self.flag_name or self.name

    @property
    def is_flag(self) -> bool:
        """Whether it is given on the command line without a value."""
        return not self.metavar

    def default_for(self, verb: str) -> str | None:
        """Return the default that a verb has for itself, as text; None if it has none."""
        return dict(self.verb_defaults).get(verb)

    @property
    def type_text(self) -> str:
        """The type, for people: without the modules that its parts are from, and without None."""
        name: str = getattr(self.type, "__name__", "") if isinstance(self.type, type) else ""
        return name or _MODULES.sub("", str(self.type))

    def about(self) -> str:
        """Describe the option in a line: its help, type, unit and default."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.help} ({self.type_text}{unit}; default: {self.default_text})"

    def check(self, value: object) -> Any:
        """Read a value.

        :raises UsageError: it cannot be; says of which option.
        """
        try:
            return self.read(value)
        except UsageError as error:
            raise UsageError(f"{self.name}: {error.message}", hint=error.hint) from None


@cache
def options_of(kind: Any) -> dict[str, Option]:
    """Return the options that a class of :mod:`microvm.options` declares, by name, in order."""
    return {
        name: annotation.__metadata__[0]._replace(name=name, type=annotation.__origin__)
        for name, annotation in kind.__annotations__.items()
    }


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    return {
        name: None if option.default is None else option.check(option.default)
        for name, option in options_of(kind).items()
    }


def read_options(kind: Any, given: Mapping[str, object]) -> dict[str, Any]:
    """Read options, and add the defaults of those that are not given.

    :param kind: the class that declares them.
    :param given: None is as good as nothing.
    :raises UsageError: a value that cannot be.
    :raises TypeError: there is no such option, as Python says it of keyword arguments.
    """
    options, values = options_of(kind), dict(_defaults(kind))
    if unknown := given.keys() - options.keys():
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    for name, value in given.items():
        if value is not None:
            values[name] = options[name].check(value)
    check_needs(options, given)
    return values


def flag(name: str) -> str:
    """Return how the command line writes the name of an option."""
    return f"--{name.replace('_', '-')}"


def check_needs(
    options: Mapping[str, Option],
    given: Mapping[str, object],
    written: Callable[[str], str] = str,
) -> None:
    """Check that no option is given without the one that it needs.

    :param given: None is as good as nothing.
    :param written: how whoever gave them writes the name of one.
    :raises UsageError: one is.
    """
    for name, option in options.items():
        needed = option.needs
        if needed and given.get(name) is not None and given.get(needed) is None:
            raise UsageError(
                f"{written(name)} has no meaning without {written(needed)}: set that, too"
            )


def lists(kind: Any) -> Callable[[F], F]:
    """Return a decorator that adds the options of a class to the docstring, for `help()`."""

    def decorate(function: F) -> F:
        if text := function.__doc__:  # `python -OO` has none
            indent = text[len(text.rstrip(" ")) :]  # before Python 3.13 that of the source
            options = options_of(kind).items()
            lines = [f"{indent}:param {name}: {option.about()}" for name, option in options]
            function.__doc__ = "\n".join([text.rstrip(), "", *lines])
        return function

    return decorate
