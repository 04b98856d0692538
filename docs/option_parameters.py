"""An extension of griffe that lists the options of a method as its parameters.

A method declares its options by `**options: Unpack[SomeOptions]`, where `SomeOptions` is a
`TypedDict`. The reference shows `**options` in the signature, and each option below it.

The extension also shows a method of `microvm.sync` that is made from an asynchronous one, as in
`ping = blocking(Machine.ping)`, as a method with the same parameters and description.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from importlib import import_module
from inspect import getdoc
from typing import Any

from griffe import (
    Attribute,
    Docstring,
    DocstringParameter,
    DocstringSectionParameters,
    ExprCall,
    Extension,
    Function,
    Module,
    ParameterKind,
)

from microvm.option import Option, options_of

MIRRORS = ("microvm.sync.bound.blocking", "microvm.sync.bound.in_loop")
UNPACK = re.compile(r"Unpack\[(\w+)\]")


class OptionParameters(Extension):
    """Replace `Unpack[…]` by the options that it stands for, and drop the overloads by type."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        for parameter in func.parameters:
            found = UNPACK.search(str(parameter.annotation))
            if parameter.kind is ParameterKind.var_keyword and found and func.docstring:
                parameter.annotation = None
                # Import the module that defines the options, because that of the function may be an
                # adapter, whose framework is not installed.
                module, name = func.resolve(found[1]).rsplit(".", 1)
                _document(func.docstring, parameter.name, getattr(import_module(module), name))

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        if "sync" in pkg.members:
            for module in pkg["sync"].modules.values():
                for kind in module.classes.values():
                    for attribute in list(kind.attributes.values()):
                        _mirror(pkg, attribute)

    def on_class_members(self, *, cls: Any, **_: Any) -> None:
        for member in cls.functions.values():
            member.overloads = None


def _mirror(pkg: Module, attribute: Attribute) -> None:
    """Replace an attribute such as `ping = blocking(Machine.ping)` by a method of that name."""
    made = attribute.value
    if isinstance(made, ExprCall) and made.canonical_path in MIRRORS:
        path = made.arguments[0].canonical_path  # type: ignore[union-attr] # it is a name
        method = pkg[path.removeprefix(f"{pkg.name}.")]
        method = copy.copy(method.final_target if method.is_alias else method)
        method.labels = method.labels - {"async"}
        method.lineno = attribute.lineno
        attribute.parent.set_member(attribute.name, method)  # type: ignore[union-attr]


def _document(docstring: Docstring, name: str, kind: type) -> None:
    sections = docstring.parsed
    parameters = next(
        (each for each in sections if isinstance(each, DocstringSectionParameters)), None
    )
    if parameters is None:
        parameters = DocstringSectionParameters([])
        sections.insert(1, parameters)
    parameters.value = [each for each in parameters.value if each.name.lstrip("*") != name]
    parameters.value.extend(_parameters(kind))


def _parameters(kind: type) -> Iterator[DocstringParameter]:
    fields = re.split(r"^:ivar ", _docs(kind), flags=re.MULTILINE)[1:]
    documented = {name: text for name, _, text in (field.partition(": ") for field in fields)}
    for name, hint in kind.__annotations__.items():
        metadata = getattr(hint, "__metadata__", ())
        if metadata and isinstance(metadata[0], Option):
            option = options_of(kind)[name]
            unit = f" The unit is {option.unit}." if option.unit else ""
            yield DocstringParameter(
                name,
                description=f"{option.help}{unit} Default: {option.default_text}.",
                annotation=option.type_text,
            )
        else:
            yield DocstringParameter(name, description=documented.get(name, ""))


def _docs(kind: type) -> str:
    """Return the docstrings of a class and its bases."""
    bases = getattr(kind, "__orig_bases__", ())
    return "\n".join(
        [getdoc(kind) or "", *(_docs(base) for base in bases if isinstance(base, type))]
    )
