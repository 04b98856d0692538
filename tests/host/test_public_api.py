"""Tests that the public API is complete: every type in a signature is exported and documented."""

from __future__ import annotations

import ast
import asyncio
import builtins
import collections.abc
import importlib
import inspect
import os
import pathlib
import socket
import typing
from collections.abc import Iterator
from typing import Any

import griffe
import pytest

import microvm
from microvm import sync

MODULES = ("microvm", "microvm.sync", "microvm.testing", "microvm.dask", "microvm_image")
"""The modules that have a page in the reference of the documentation."""

PUBLIC = {name for module in MODULES for name in importlib.import_module(module).__all__}

STANDARD = {
    name
    for module in (builtins, typing, collections.abc, pathlib, os, asyncio, socket)
    for name in dir(module)
    if not name.startswith("_")
}

CREATED_BY_OTHERS = set("AsyncMicroVMFactory MicroVMFactory".split())
"""The classes whose objects are fixtures of pytest. Their constructors are internal."""

CLASSES = [
    pytest.param(kind, id=f"{module}.{name}")
    for module in ("microvm", "microvm.sync", "microvm.testing", "microvm.dask")
    for name in importlib.import_module(module).__all__
    if isinstance(kind := getattr(importlib.import_module(module), name), type)
]


def annotations_of(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the annotations of the public attributes and methods of a class."""
    for name, member in inspect.getmembers_static(kind):
        is_constructor = name == "__init__" and kind.__name__ not in CREATED_BY_OTHERS
        if name.startswith("_") and not is_constructor:
            continue
        owner = next(each for each in kind.__mro__ if name in vars(each))
        if not owner.__module__.startswith("microvm"):
            continue
        function = getattr(member, "fget", getattr(member, "__func__", member))
        for overload in (function, *typing.get_overloads(function)) if callable(function) else ():
            yield from ((f"{name}: {key}", each) for key, each in hints(overload))
    yield from ((name, each) for name, each in hints(kind) if not name.startswith("_"))


def hints(annotated: Any) -> list[tuple[str, Any]]:
    return list(getattr(inspect.unwrap(annotated), "__annotations__", {}).items())


def names_in(annotation: Any) -> set[str]:
    """Return the names in an annotation, which is text or an object."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        nodes = ast.walk(ast.parse(annotation))
        return {node.id for node in nodes if isinstance(node, ast.Name)}
    if isinstance(annotation, type) and annotation.__module__.startswith("microvm"):
        return {annotation.__name__}
    if typing.get_origin(annotation) is typing.Literal:
        return set()
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        arguments = arguments[:1]
    return {name for argument in arguments for name in names_in(argument)}


@pytest.mark.parametrize("kind", CLASSES)
def test_types_in_signatures_are_exported(kind: type) -> None:
    module = inspect.getmodule(kind)
    variables = {name for name, value in vars(module).items() if isinstance(value, typing.TypeVar)}
    hidden = {
        f"{where} has {name}"
        for where, annotation in annotations_of(kind)
        for name in names_in(annotation) - PUBLIC - STANDARD - variables
    }
    assert not hidden


@pytest.mark.parametrize("package", ["microvm", "microvm_image"])
def test_exported_names_are_documented(package: str) -> None:
    loaded = griffe.load(package, search_paths=["host", "image"], allow_inspection=False)
    for name in MODULES:
        top, _, inner = name.partition(".")
        for public in importlib.import_module(name).__all__ if top == package else ():
            if public != "__version__":
                member = loaded[f"{inner}.{public}" if inner else public]
                member = member.final_target if member.is_alias else member
                assert member.docstring, f"{name}.{public} has no docstring"


@pytest.mark.parametrize("name", sync.__all__)
def test_sync_class_mirrors_the_async_one(name: str) -> None:
    theirs, ours = getattr(microvm, name), getattr(sync, name)
    public = {each for each in dir(theirs) if not each.startswith("_")}
    assert public - set(dir(ours)) <= {"drain"}  # `write` waits


@pytest.mark.parametrize(
    "kind",
    [
        *(microvm.Process, microvm.InputStream, microvm.OutputStream, microvm.Snapshot),
        *(sync.Process, sync.InputStream, sync.OutputStream, sync.Machine),
    ],
)
def test_only_the_library_creates_some_objects(kind: type) -> None:
    assert list(inspect.signature(kind).parameters) == []
    with pytest.raises(TypeError, match=rf"^{kind.__name__}\(\) cannot be called"):
        kind()
