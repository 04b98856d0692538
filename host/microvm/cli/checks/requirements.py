"""Finds the Python distributions that an extra of microvm, such as `vm`, requires.

A requirement may have a marker, such as `python_version < '3.14' and extra == 'vm'`, as the
specification of dependency specifiers defines it. The markers of microvm are also valid expressions
of Python, so :mod:`ast` parses them.
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
from microvm.system import platform as host

_OPERATORS = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def missing(extra: str) -> list[str]:
    """Return the missing distributions of an extra such as `vm`, as arguments of `pip install`.

    :raises PackageNotFoundError: Raised if microvm is not installed.
    """
    return [each for each in needed(metadata.requires(DISTRIBUTION) or [], extra) if not _has(each)]


def install_command(*arguments: str) -> str:
    """Return the pip or uv command that installs distributions for the running Python."""
    if find_spec("pip"):
        return shlex.join([sys.executable, "-m", "pip", "install", *arguments])
    # An environment that uv has created contains no pip, so use uv.
    return shlex.join(["uv", "pip", "install", "--python", sys.executable, *arguments])


def needed(requirements: list[str], extra: str) -> Iterator[str]:
    """Yield the requirements whose markers (conditions) apply to an extra on this host.

    The markers are removed from the yielded requirements.
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
        "platform_machine": host.machine(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "sys_platform": host.system(),
    }
    text = str(node.value) if isinstance(node, ast.Constant) else facts[ast.unparse(node)]
    is_version = re.fullmatch(r"\d+(\.\d+)*", text)
    return tuple(map(int, text.split("."))) if is_version else text


def _has(requirement: str) -> bool:
    """Return True if a required distribution is installed, and its module can be imported."""
    name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
    try:
        if module := _module(metadata.distribution(name)):
            import_module(module)
    # This also catches PackageNotFoundError, a subclass of ImportError, which
    # `metadata.distribution` raises for a missing distribution.
    except ImportError:
        return False
    return True


def _module(distribution: metadata.Distribution) -> str:
    """Return the name by which a distribution is imported; empty if it is unknown."""
    folders = [file.parent for file in distribution.files or [] if file.name == "__init__.py"]
    return ".".join(min(folders, key=lambda each: len(each.parts)).parts) if folders else ""
