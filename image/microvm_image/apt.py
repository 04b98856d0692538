"""Checks that Debian's release files, which list its packages, are signed and not outdated.

A release file lists the packages of a suite. Its signature proves its author, but a mirror could
send an old file with known faults, and many of these files have no expiry date. So the cache keeps
the newest date of each release file, and an older one is refused.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path

from microvm import cache
from microvm.cache import lock, record
from microvm.errors import ImageError
from microvm.progress import Reporter

FORBIDDEN = (
    "Acquire::AllowInsecureRepositories",
    "Acquire::AllowDowngradeToInsecureRepositories",
    "Acquire::AllowWeakRepositories",
    "APT::Get::AllowUnauthenticated",
)
"""Options of apt.conf(5) that accept unsigned packages. They are always disabled here."""

SLACK = 24 * 3600
"""Number of seconds by which a release file may be older than a known one: mirrors lag behind."""

RELEASES = "releases.json"
"""The name of the file in the cache that stores the newest date of each release file."""

_LIMIT = 1 << 20
_DATE = re.compile(r"^(?:.*/)?([^/]+)_(?:In)?Release:Date: (.+)$", re.MULTILINE)
_FETCHED = re.compile(
    r"^E: Failed to fetch (?P<what>\S+) +(?P<why>.+?)(?: \[IP: .*\])?$(?P<more>(?:\n +.*)*)",
    re.MULTILINE,
)
_UNSIGNED = re.compile(
    r"^W: (?:OpenPGP signature verification failed|GPG error): (?P<what>.+?): (?P<why>.+)",
    re.MULTILINE,
)
_NO_RELEASE = re.compile(r"^E: The repository '(?P<what>.+?)' (?P<why>.+?)\.?$", re.MULTILINE)
_HASHES = re.compile(r"Hashes of (expected|received) file:(?:\n +- .*)*?\n +- SHA256:(\w+)")


def refusal(output: str) -> str:
    """Return the line of apt's messages that says which file apt refused, and why; "" if none."""
    for pattern in (_FETCHED, _UNSIGNED, _NO_RELEASE):
        if found := pattern.search(output):
            parts = found.groupdict()
            hashes = dict(_HASHES.findall(parts.get("more", "")))
            compared = [f"the SHA-256 {kind} is {digest}" for kind, digest in hashes.items()]
            return "; ".join((f"{parts['what']}: {parts['why'].strip()}", *compared))
    return ""


def dates(lists: Path) -> str:
    """Return the lines with the dates of all release files in a folder, for `check_dates`."""
    return "\n".join(
        f"{path.name}:{line}"
        for path in lists.glob("*Release")
        for line in path.read_text(errors="replace").splitlines()
        if line.startswith("Date: ")
    )


def check_dates(output: str, report: Reporter) -> None:
    """Check that no release file listed in `output` is older than it was at an earlier download.

    For that, the newest date of each release file is stored in the cache.

    :param output: A text that contains lines of the form `NAME_InRelease:Date: …`, as `grep -H
        ^Date:` writes them.
    :raises ImageError: A release file is older by more than a day.
    """
    path = cache.folder("downloads") / RELEASES
    with lock.held(path, report):
        newest: dict[str, int] = {}
        with suppress(OSError, ValueError):
            found = record.read(path, _LIMIT)
            newest = {name: date for name, date in found.items() if isinstance(date, int)}
        for name, text in _DATE.findall(output):
            date = _seconds(text)
            if date < newest.get(name, 0) - SLACK:
                known = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime(newest[name]))
                raise ImageError(
                    f"{name}: the mirror sends an old release: its date is {text}, but a release "
                    f"of {known} was seen before",
                    hint=f"try another mirror; or remove {path} to accept the old release",
                )
            newest[name] = max(date, newest.get(name, 0))
        with cache.staging(path) as temporary:
            temporary.write_text(json.dumps(newest))


def _seconds(text: str) -> int:
    parts = parsedate_tz(text)
    return mktime_tz(parts) if parts else 0
