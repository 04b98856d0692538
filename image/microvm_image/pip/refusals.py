"""Explains errors of pip. A user should not have to read pip's output."""

from __future__ import annotations

import re
from collections.abc import Callable

from microvm.errors import ImageError
from microvm_image.pip.guest_python import GuestPython

_UNREACHABLE = re.compile(r"Retrying \(|Max retries exceeded|NewConnectionError|ProxyError")
_REASON = re.compile(
    r"Connection refused|Name or service not known|[Tt]emporary failure in name resolution"
    r"|Network is unreachable|No route to host|timed out|CERTIFICATE_VERIFY_FAILED"
)
_HTTP = re.compile(r"(?:HTTP error|HTTPError:|URL \S+:) (\d{3}[^\n]*)")
_WRONG_HASH = re.compile(
    r"DO NOT MATCH THE HASHES.*?\n\s+(\S+)[^\n]*\n.*?Expected(?: or)? (\w+ \w+).*?Got\s+(\w+)",
    re.DOTALL,
)
_NO_HASH = re.compile(
    r"(?:--require-hashes mode|[Hh]ashes are required).*?\n\s+([A-Za-z0-9][\w.-]*)", re.DOTALL
)
_CONFLICT = re.compile(r"The conflict is caused by:\n((?:[ \t]+\S.*\n)+)")
_IMPOSSIBLE = re.compile(r"ResolutionImpossible|conflicting dependencies")
_NOT_FOUND = re.compile(
    r"satisfies the requirement (\S.*?)(?: \(from ((?!versions: ).*?)\))? \(from versions: (.*)\)"
)
_ERROR = re.compile(r"^ERROR: (?!Exception:)(.+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_WHAT = "cannot get Python packages"


def explain(output: str, python: GuestPython, exists: Callable[[str], bool]) -> ImageError | None:
    """Return the error that pip's output describes; None if the output has no error.

    :param output: The last lines of pip's output.
    :param exists: A function that tells whether the index has a package of this name.
    """
    if match := _WRONG_HASH.search(output):
        name, expected, got = match.groups()
        return ImageError(
            f"{_WHAT}: {name}: wrong hash: the list has {expected}, but the index sent {got}",
            hint="somebody has changed the package or the list: find out who",
        )
    if match := _NO_HASH.search(output):
        return ImageError(
            f"{_WHAT}: {match[1]} has no hash, but other packages of the list have one",
            hint="list all packages with versions and hashes, also those that others need, as "
            "`uv pip compile --generate-hashes` does",
        )
    if _IMPOSSIBLE.search(output):
        match = _CONFLICT.search(output)
        lines = "; ".join(line.strip() for line in match[1].splitlines()) if match else ""
        return ImageError(
            f"{_WHAT}: the requested versions conflict{f': {lines}' if lines else ''}",
            hint="request other versions, or leave out some versions",
        )
    not_found = _NOT_FOUND.search(output)
    # pip also prints failed attempts after which another attempt succeeded. So if pip has found
    # versions of the package, the index was reached.
    if _UNREACHABLE.search(output) and (not_found is None or not_found[3] == "none"):
        match = _REASON.search(output)
        return ImageError(
            f"{_WHAT}: the index cannot be reached{f': {match[0]}' if match else ''}",
            hint="check the network of this host, and `pip config list`",
        )
    if not_found:
        return _not_found(*not_found.groups(""), python=python, exists=exists)
    if match := _HTTP.search(output):
        return ImageError(
            f"{_WHAT}: the index answered {match[1]}", hint="check `pip config list`, or try again"
        )
    if "MemoryError" in output:
        return ImageError(f"{_WHAT}: the metadata of a package is too large")
    if errors := _ERROR.findall(output):
        return ImageError(f"{_WHAT}: {errors[-1]}")
    return None


def _not_found(
    wanted: str,
    needed_by: str,
    versions: str,
    *,
    python: GuestPython,
    exists: Callable[[str], bool],
) -> ImageError:
    match = _NAME.match(wanted)
    name = match[0] if match else wanted
    by = f", which {needed_by} needs," if needed_by and not needed_by.startswith("-r ") else ""
    if versions and versions != "none":
        newest = ", ".join(versions.split(", ")[-5:])
        return ImageError(
            f"{_WHAT}: no version {wanted}{by} has a wheel for {python}",
            hint=f"versions that have one: {newest}",
        )
    if exists(name):
        return ImageError(
            f"{_WHAT}: {name}{by} has no wheel for {python}, only source code",
            hint="build a wheel yourself, which runs code of the package: `pip wheel --no-deps "
            f'--wheel-dir wheels {name}`, then `export PIP_FIND_LINKS="$PWD/wheels"`',
        )
    return ImageError(
        f"{_WHAT}: the index has no package {name}{by.rstrip(',')}, or none for {python}",
        hint="check the name; `pip config list` shows the index",
    )
