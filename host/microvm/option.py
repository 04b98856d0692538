"""The class `Option`, which declares an option, and functions that check values of options."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, TypeVar

from microvm.errors import UsageError
from microvm.suggestion import did_you_mean

F = TypeVar("F", bound=Callable[..., object])

# Matches the parts of an option's type that help texts leave out: the name of a module before a
# class, and the alternative `| None`.
_UNSHOWN = re.compile(r"\b[a-z_]+\.|\s\|\sNone")


def _same(value: Any) -> Any:
    return value


class Option(NamedTuple):
    """The declaration of an option of the library and the command line: help, default and check.

    :ivar read: Function that checks a value and converts it to the form that the library uses. It
        accepts its own results, and raises UsageError for an invalid value.
    :ivar default: Value that is read if the option is not given, or None.
    :ivar shown: Text that describes the default, if the value alone does not explain it.
    :ivar verbs: Verbs of the command line that have this option. An option of `map` is also a key
        of the jobs in a file.
    :ivar metavar: Placeholder for the value on the command line; empty for a flag.
    :ivar short: Letter of the short form on the command line; empty if it has none.
    :ivar flag_name: Name in the long form on the command line; empty if it is `name`.
    :ivar from_text: Function that converts the text of the command line to a value for `read`.
    :ivar multiple: True if the command line accepts the option several times. `from_text` then
        gets a tuple of all texts.
    :ivar needs: Name of another option without which this one has no effect; may be empty.
    :ivar verb_defaults: Pairs of a verb and the text of a default that applies only to this verb.
    :ivar preset_by: Kind of configuration file that may set a default for the command line.
        `project` allows every file, also one from a stranger's project, so such an option must
        not endanger the host. `user` allows only the user's own file and variables.
    :ivar name: Name of the keyword argument, which is also the key in a job.
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
        """Text that describes the default value of the option."""
        return self.shown or ("none" if self.default is None else str(self.default))

    @property
    def setting(self) -> str:
        """Name of the option on the command line and in configuration files."""
        return self.flag_name or self.name

    @property
    def is_flag(self) -> bool:
        """True if the option has no value on the command line."""
        return not self.metavar

    def default_for(self, verb: str) -> str | None:
        """Return the text of the default of the subcommand `verb`; None if it has no own one."""
        return dict(self.verb_defaults).get(verb)

    @property
    def type_text(self) -> str:
        """Type of the option's values as text, without module names and without None."""
        name: str = getattr(self.type, "__name__", "") if isinstance(self.type, type) else ""
        return name or _UNSHOWN.sub("", str(self.type))

    def about(self) -> str:
        """Return a line that describes the option: its help, type, unit and default."""
        unit = f", {self.unit}" if self.unit else ""
        return f"{self.help} ({self.type_text}{unit}; default: {self.default_text})"

    def check(self, value: object) -> Any:
        """Check a value of the option, and return it in the form that the library uses.

        The message of the UsageError for an invalid value begins with the option's name.
        """
        try:
            return self.read(value)
        except UsageError as error:
            raise UsageError(f"{self.name}: {error.message}", hint=error.hint) from None


class ParsedOptions(Mapping[str, Any]):
    """An immutable mapping from the names of all options of a class to their checked values.

    It is created once, from the arguments of a public function, and then passed on.

    :ivar given: Names of the options that the caller has set. All others have their defaults.
    """

    __slots__ = ("_values", "given")

    def __init__(self, values: Mapping[str, Any], given: frozenset[str]) -> None:
        self._values = values
        self.given = given

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def replace(self, **checked: Any) -> ParsedOptions:
        """Return a copy with other values for some options. The caller has checked these values."""
        return ParsedOptions({**self._values, **checked}, self.given | checked.keys())


@cache
def options_of(kind: Any) -> dict[str, Option]:
    """Return, by name, the options that `kind`, a class of :mod:`microvm.options`, declares."""
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


def read_options(
    kind: Any, given: Mapping[str, object], function: str, *parameters: str
) -> dict[str, Any]:
    """Check options that a caller has given, and return those that are not None.

    The values are returned in the form that the library uses.

    :param kind: Class that declares the options.

    :param function: Name of the function, for error messages.
    :param parameters: Names of the function's other parameters, for suggestions.
    :raises UsageError: Raised if a value is invalid.
    :raises TypeError: Raised if an option does not exist.
    """
    options = options_of(kind)
    for name in given:
        if name not in options:
            raise unknown_option(name, options, function, *parameters)
    return {name: options[name].check(value) for name, value in given.items() if value is not None}


def unknown_option(name: str, known: Collection[str], function: str, *parameters: str) -> TypeError:
    """Return the error for an option `name` that a function lacks.

    The error suggests one of the `known` options, or one of the function's other `parameters`.
    """
    hint = (
        did_you_mean(name, [*known, *parameters], quoted=True)
        or f"its options are {', '.join(known)}"
    )
    return TypeError(f"{function}() has no option {name!r}; {hint}")


def complete_options(kind: Any, checked: Mapping[str, Any]) -> ParsedOptions:
    """Add the defaults of all other options of the class `kind` to the `checked` values.

    :raises UsageError: Raised if an option lacks another option that it needs.
    """
    check_needs(options_of(kind), checked)
    return ParsedOptions({**_defaults(kind), **checked}, frozenset(checked))


def parse_options(
    kind: Any, given: Mapping[str, object], function: str, *parameters: str
) -> ParsedOptions:
    """Check arguments `given` to `function` as options of class `kind`, and add all defaults."""
    return complete_options(kind, read_options(kind, given, function, *parameters))


def flag(name: str) -> str:
    """Return an option as users type it on the command line: `--max-output` for max_output."""
    return f"--{name.replace('_', '-')}"


def check_needs(
    options: Mapping[str, Option], given: Mapping[str, object], spell: Callable[[str], str] = str
) -> None:
    """Raise UsageError if a given option lacks the one that it needs; `spell` writes their names.

    :param given: Values by name. An option whose value is None is not given.
    :param spell: Function that converts a name to the form in which the user knows it.
    """
    for name, option in options.items():
        needed = option.needs
        if needed and given.get(name) is not None and given.get(needed) is None:
            raise UsageError(f"{spell(name)} has no effect without {spell(needed)}: set that, too")


def document_options(kind: Any) -> Callable[[F], F]:
    """Return a decorator that appends options of the class `kind` to a docstring, for `help()`."""

    def decorate(function: F) -> F:
        if text := function.__doc__:  # with `python -OO`, the function has no docstring
            # Indent the options like the docstring, which keeps its indentation before Python 3.13.
            indent = text[len(text.rstrip(" ")) :]
            options = options_of(kind).items()
            lines = [f"{indent}:param {name}: {option.about()}" for name, option in options]
            function.__doc__ = "\n".join([text.rstrip(), "", *lines])
        return function

    return decorate
