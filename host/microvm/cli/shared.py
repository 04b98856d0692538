"""Options that several verbs have, and what they stand for."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import click

from microvm.errors import UsageError
from microvm.option import Option, options_of
from microvm.options import counted
from microvm.printable import printable

if TYPE_CHECKING:
    from microvm_image import Image

F = TypeVar("F", bound=Callable[..., object])
T = TypeVar("T")

Callback = Callable[[click.Context, click.Parameter, Any], Any]


def _listen(context: click.Context, parameter: click.Parameter, verbosity: int) -> None:
    del context, parameter
    if verbosity:
        from microvm.cli.log import listen

        listen(verbosity)


def read(option: Option) -> Callback:
    """What has click read an option's text as ours are read, and say what is refused."""

    def callback(context: click.Context, parameter: click.Parameter, text: Any) -> Any:
        del context, parameter
        try:
            return None if text is None else option.read(option.from_text(text))
        except UsageError as error:
            raise click.BadParameter(str(error)) from None

    return callback


def count(least: int) -> Callback:
    """What has click read a whole number from `least` on."""
    return read(counted(least)(""))


image = click.option(
    "--image", metavar="NAME|DIR", help="What it boots. [default: built on the first run]"
)
verbose = click.option(
    "-v",
    "--verbose",
    count=True,
    expose_value=False,
    callback=_listen,
    help="Say on stderr what happens; -vv: how, with QEMU's command line and QMP; -vvv: with every "
    "frame. So does MICROVM_LOG=info|debug|trace.",
)


def options(kind: Any, verb: str, **defaults: str) -> Callable[[F], F]:
    """Those of a class of :mod:`microvm.options` that a verb of the command line has.

    :param defaults: by name, as text, where they are other than elsewhere.
    """

    def decorate(function: F) -> F:
        for option in reversed(options_of(kind).values()):
            if verb in option.verbs:
                function = _option(option, defaults.get(option.name))(function)
        return function

    return decorate


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _option(option: Option, default: str | None) -> Callable[[F], F]:
    names = [_flag(option.name), *([f"-{option.short}"] if option.short else [])]
    if not option.metavar:
        return click.option(*names, option.name, is_flag=True, help=option.help)
    return click.option(
        *names,
        option.name,
        multiple=option.multiple,
        default=default,
        callback=read(option),
        metavar=option.metavar,
        help=f"{option.help} [default: {default or option.default_text}]",
    )


def given(kind: type[T], said: Mapping[str, Any]) -> T:
    """What the command line says of the options of a class, checked together.

    :param said: the values of all of the verb's options, by name.
    """
    names = options_of(cast(Any, kind))
    values = {name: said[name] for name in names if said.get(name) is not None}
    for name in values:
        if (needed := names[name].needs) and needed not in values:
            message = f"{_flag(name)} has no meaning without {_flag(needed)}: set that, too"
            raise click.UsageError(message)
    return cast(T, values)


def default_image() -> Image:
    """The image of those who name none, built if there is none."""
    from microvm.progress import on_stderr
    from microvm_image import default

    with on_stderr() as report:
        return default(report=report)


def leave(status: int) -> NoReturn:
    """End at once: to take the interpreter apart takes longer than many a command."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def notify(text: str) -> None:
    """Tell the user something."""
    click.echo(f"microvm: {printable(text)}", err=True)
