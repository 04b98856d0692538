"""Explains failed imports of a framework that is missing, or whose version is not supported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata


@contextmanager
def supported(extra: str) -> Iterator[None]:
    """Context manager that explains why a framework cannot be imported.

    :param extra: The extra of `microvm-proto` that installs the framework.
    """
    try:
        yield
    except (ImportError, AttributeError) as error:
        required = requirement(extra)
        raise ImportError(
            f"This adapter supports {required}, and {installed(required)} is installed ({error}). "
            f"Run `pip install 'microvm-proto[{extra}]'`."
        ) from error


def requirement(extra: str) -> str:
    """Return the framework's distribution and its supported versions, such as `mcp>=2.3`."""
    for line in metadata.requires("microvm-proto") or ():
        needed, _, condition = line.partition(";")
        if condition.replace("'", '"').strip() == f'extra == "{extra}"':
            return needed.strip()
    raise LookupError(extra)


def installed(required: str) -> str:
    """Return the installed version of a requirement's distribution, or `none`."""
    try:
        return metadata.version(required.partition(">=")[0])
    except metadata.PackageNotFoundError:
        return "none"
