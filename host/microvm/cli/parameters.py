"""Options, arguments and callbacks for click that several verbs use."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from microvm.cli import docker_hints, env_file, preset_sources
from microvm.errors import UsageError
from microvm.option import Option, check_needs, flag, options_of
from microvm.options import counted
from microvm.printable import printable
from microvm.progress import STDERR
from microvm.units import parse_duration, parse_size

if TYPE_CHECKING:
    from microvm.cli.presets import Preset, Presets

# Key in `click.Context.meta` under which the presets are stored, so that they are read once.
_PRESETS = "microvm.presets"

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")

Complete = Callable[[click.Context, click.Parameter, str], Any]
Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _listen(context: click.Context, parameter: click.Parameter, verbosity: int) -> None:
    del context, parameter
    if verbosity:
        # imported here, because it imports logging, which takes long
        from microvm.cli.log import listen

        listen(verbosity)


def _silence(context: click.Context, parameter: click.Parameter, quiet: bool) -> None:
    del context, parameter
    STDERR.quiet = quiet


def parser(option: Option, verb: str = "") -> Callback:
    """Return a callback for click that parses the text of an option, or uses its preset for `verb`.

    :param verb: Verb that has the option. If it is empty, variables and configuration files cannot
        preset the option.
    """

    def callback(context: click.Context, parameter: click.Parameter, text: Any) -> Any:
        del parameter
        if preset := _preset(option, verb, context):
            return preset.value
        if isinstance(text, bool):
            return text
        try:
            return None if text is None else option.read(option.from_text(text))
        except UsageError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def completer(kind: str) -> Complete:
    """Return a callback for click that completes names of objects of a kind, such as `image`."""

    def complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        del parameter
        from microvm.cli import names  # imported here, because only completion needs it

        return names.complete(kind, context, incomplete)

    return complete


def complete_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> Any:
    """Let the shell complete the name of a file. This is a callback for click."""
    del context, parameter
    return [CompletionItem(incomplete, type="file")]


def _complete_detached(context: click.Context, parameter: click.Parameter, incomplete: str) -> Any:
    """Return the ids of detached commands of the machine that the command line names."""
    del parameter
    from microvm.cli import names  # imported here, because only completion needs it

    known = names.detached_commands(context.params["name"])
    return [
        CompletionItem(number, help=command)
        for number, command in known.items()
        if number.startswith(incomplete)
    ]


def _word_completer(metavar: str) -> Complete | None:
    """Return a callback to complete a `metavar` that is FILE or a choice; None for any other.

    :param metavar: Value as the help shows it, such as `FILE`, or a choice such as `[ONE|OTHER]`.
    """
    if metavar == "FILE":
        return complete_files
    if not (metavar.startswith("[") and "|" in metavar):
        return None
    return lambda _, __, incomplete: [
        word for word in metavar.strip("[]").split("|") if word.startswith(incomplete)
    ]


def count(least: int) -> Callback:
    """Return a callback for click that parses a whole number, and refuses numbers below `least`."""
    return parser(counted(least)(""))


def option(spec: str, text: str, **more: Any) -> Callable[[F], F]:
    """Return a decorator that adds an option with the names `spec` and the help `text` to a verb.

    :param spec: Names of the option and the placeholder of its value, such as `-f --file FILE`.
    :param text: Help of the option.
    :param more: Other arguments of `click.option`.
    """
    *names, metavar = spec.split()
    return click.option(*names, metavar=metavar, help=text, **more)


def duration(
    name: str,
    help: str,  # noqa: A002 - click uses this name
    read: Callable[[Any], float] = parse_duration,
) -> Callable[[F], F]:
    """Return a decorator that adds an option with a duration such as `5m`, without a default."""
    option = Option(help, read, metavar="TIME")
    return click.option(name, metavar=option.metavar, callback=parser(option), help=help)


def names(kind: str, metavar: str = "NAME…") -> Callable[[F], F]:
    """Return a decorator that adds an argument for one or more names of objects of a kind."""
    complete = completer(kind)
    return click.argument(
        "names", nargs=-1, required=True, metavar=metavar, shell_complete=complete
    )


size = parser(Option("", parse_size))
as_json = click.option("--json", "as_json", is_flag=True, help="Print all details as JSON.")
no_trunc = click.option(
    "--no-trunc", "full", is_flag=True, help="Print full names and exact times, and cut nothing."
)
machine = click.argument("name", shell_complete=completer("machine"))
_detached = partial(click.argument, "number", type=int, shell_complete=_complete_detached)
detached = _detached(metavar="ID")
detached_or_machine = _detached(metavar="[ID]", required=False)
rm = click.option(
    "--rm",
    is_flag=True,
    expose_value=False,
    help="Accepted for compatibility with docker; has no effect.",
)
wait = click.option(
    "--wait",
    is_flag=True,
    help="If the machine is busy, wait in its queue instead of failing.",
)
quiet = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_silence,
    help="Hide microvm's progress and notices, and print only its errors.",
)
_verbose = click.option(
    "-v",
    "--verbose",
    cls=docker_hints.VerboseOption,
    count=True,
    is_eager=True,
    expose_value=False,
    callback=_listen,
    help="Log what microvm does to standard error. -vv: also log QEMU's command line and QMP "
    "messages; -vvv: also log every protocol frame. MICROVM_LOG=info, debug or trace does the "
    "same.",
)
standard_input = click.option(
    "-i/-n",
    "--interactive/--no-stdin",
    "standard_input",
    default=None,
    help="-i: pass standard input to the command, even if it is a terminal. -n: pass no input, "
    "like `ssh -n`. [default: -i, but -n if standard input is a terminal and -t is not given]",
)

standard_input_of_detached = click.option(
    "-i/-n",
    "--interactive/--no-stdin",
    "standard_input",
    default=None,
    help="-i: pass standard input to the command. -n: pass no input. [default: -i if the command "
    "was started with -i or -t]",
)


def verbose(function: F) -> F:
    """Add the options `-v` and `-q`, which control the messages on standard error."""
    return _verbose(quiet(function))


class _DeclaredOption(click.Option):
    """An option of :mod:`microvm.options`. Its help shows the default, which may be a preset."""

    def __init__(self, *names: Any, declared: Option, verb: str, **more: Any) -> None:
        super().__init__(*names, **more)
        self._declared = declared
        self._verb = verb

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        option = self._declared
        shown = "" if option.is_flag else option.default_for(self._verb) or option.default_text
        # If a configuration file is wrong, show the help without presets. The error is reported
        # when the user runs the command.
        with suppress(UsageError):
            if preset := _find_preset(option.setting, self._verb, ctx):
                shown = f"{printable(str(preset.given))}, by {printable(preset.where)}"
        return (record[0], f"{record[1]} [default: {shown}]") if record and shown else record


def options(kind: Any, verb: str) -> Callable[[F], F]:
    """Return a decorator that adds those options of the class `kind` that `verb` has."""

    def decorate(function: F) -> F:
        for option in reversed(options_of(kind).values()):
            if verb in option.verbs:
                function = _option(option, verb)(function)
                if option.name == "env":
                    function = _env_file(function)
        return function

    return decorate


def _option(option: Option, verb: str) -> Callable[[F], F]:
    names = [flag(option.setting), *([f"-{option.short}"] if option.short else [])]
    more: dict[str, Any] = {
        "metavar": option.metavar,
        "multiple": option.multiple,
        "default": option.default_for(verb),
    }
    if option.is_flag:
        if option.preset_by != "nobody":
            names[0] += f"/--no-{names[0][2:]}"
        more = {"is_flag": True, "default": False}
    return click.option(
        *names,
        option.name,
        cls=_DeclaredOption,
        declared=option,
        verb=verb,
        callback=parser(option, verb),
        help=option.help,
        shell_complete=completer("image")
        if option.name == "image"
        else _word_completer(option.metavar),
        **more,
    )


def _read_env_files(context: click.Context, parameter: click.Parameter, paths: Any) -> Any:
    del context, parameter
    if not paths:
        return {}
    variables: dict[str, str] = {}
    try:
        for path in paths:
            variables |= env_file.read(path)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None
    except OSError as error:
        raise click.BadParameter(f"{printable(path)}: {error.strerror}") from None
    return variables


_env_file = option(
    "--env-file FILE",
    "Read variables from a file with lines such as KEY=VALUE, or KEY to pass the host's "
    "variable on. -e overrides the file; repeatable.",
    multiple=True,
    callback=_read_env_files,
    shell_complete=complete_files,
)


def _find_preset(name: str, verb: str, context: click.Context) -> Preset | None:
    """Look up the preset of an option in environment variables and configuration files.

    Return None if there is no preset. The files are read only once for each run of `microvm`.
    """
    if _PRESETS not in context.meta:
        found = None
        if verb not in preset_sources.VERBS_WITHOUT_PRESETS and preset_sources.may_exist():
            # Imported here to save time, because the module is only needed if presets exist.
            from microvm.cli.presets import Presets

            found = Presets()
        context.meta[_PRESETS] = found
    presets: Presets | None = context.meta[_PRESETS]
    return presets.find(name, verb) if presets else None


def _preset(option: Option, verb: str, context: click.Context) -> Preset | None:
    """Return the preset of an option; None if there is none, or if the command line overrides it.

    A preset is ignored if the user has typed the option, or if another option makes the preset
    meaningless: `--from`, for example, determines the image.
    """
    source = context.get_parameter_source(option.name)
    if not verb or option.preset_by == "nobody" or source is not ParameterSource.DEFAULT:
        return None
    if option.needs and context.params.get(option.needs) is None:
        return None
    if context.params.get("snapshot") is not None:
        from microvm.machine.snapshot import FIXED_OPTIONS

        if option.name in {"image", "cold", *FIXED_OPTIONS}:
            return None
    if context.params.get("kernel") is not None and option.name == "image":
        # ignore a preset of `--image`, because `bench --kernel` builds its own image
        return None
    return _find_preset(option.setting, verb, context)


def given_options(kind: type[T], parsed: Mapping[str, Any]) -> T:
    """Return the options in `parsed` that are set and that the class `kind` declares."""
    declared = options_of(cast(Any, kind))
    try:
        check_needs(declared, parsed, flag)
    except UsageError as error:
        raise click.UsageError(error.message) from None
    options = {name: parsed[name] for name in declared if parsed.get(name) is not None}
    if "env" in declared and (variables := parsed.get("env_file")):
        options["env"] = {**declared["env"].check(variables), **options.get("env", {})}
    return cast(T, options)


def check_terminal(standard_input: bool | None, tty: Any) -> None:
    """Check that standard input is a terminal if both `-i` and `-t` are given, as docker does.

    With `-t` alone, the command always gets a terminal, so scripts without a terminal can use `-t`.
    """
    if standard_input and tty and not os.isatty(0):
        raise click.UsageError("the input device is not a TTY: leave out -t")
