"""The distributions that an extra of this project needs, as its metadata has them.

A marker (`python_version < '3.14' and extra == 'vm'`) is what the specification of dependency
specifiers calls so. All that we use of it is an expression of Python's, too, so nothing is needed
to read it.
"""

from __future__ import annotations

import ast
import operator
import platform
import re
import shlex
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec

from microvm._version import DISTRIBUTION

_OPERATORS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def missing(extra: str) -> list[str]:
    """Return what an extra needs and is not here, as `pip install` takes it.

    :raises PackageNotFoundError: this project was not installed.
    """
    return [each for each in needed(metadata.requires(DISTRIBUTION) or [], extra) if not _has(each)]


def install(*what: str) -> str:
    """Return the command that installs distributions here; an environment of uv's has no pip."""
    if find_spec("pip"):
        return shlex.join([sys.executable, "-m", "pip", "install", *what])
    return shlex.join(["uv", "pip", "install", "--python", sys.executable, *what])


def needed(requirements: list[str], extra: str) -> Iterator[str]:
    """Yield the requirements whose markers hold here, without these.

    :raises KeyError: a marker has something that is not known here.
    """
    for each in requirements:
        requirement, _, marker = each.partition(";")
        if not marker or _holds(ast.parse(marker.strip(), mode="eval").body, extra):
            yield requirement.strip()


def _holds(node: ast.expr, extra: str) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return all(_holds(each, extra) for each in values)
        case ast.BoolOp(values=values):
            return any(_holds(each, extra) for each in values)
        case ast.Compare(left=left, ops=[compare], comparators=[right]):
            return bool(_OPERATORS[type(compare)](_value(left, extra), _value(right, extra)))
    raise KeyError(ast.unparse(node))


def _value(node: ast.expr, extra: str) -> tuple[int, ...] | str:
    facts = {
        "extra": extra,
        "platform_machine": platform.machine(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": sys.platform,
    }
    text = str(node.value) if isinstance(node, ast.Constant) else facts[ast.unparse(node)]
    is_version = re.fullmatch(r"\d+(\.\d+)*", text)
    return tuple(map(int, text.split("."))) if is_version else text


def _has(requirement: str) -> bool:
    """Tell whether a distribution is here, and its module can be imported."""
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    try:
        if module := _module(metadata.distribution(name)):
            import_module(module)
    except ImportError:  # which PackageNotFoundError is, too
        return False
    return True


def _module(distribution: metadata.Distribution) -> str:
    """Return the name of the outermost package in it; empty where its installer kept no list."""
    folders = [file.parent for file in distribution.files or [] if file.name == "__init__.py"]
    return ".".join(min(folders, key=lambda each: len(each.parts)).parts) if folders else ""
