"""The trust that packages get from apt: their release is signed, and not older than it was.

A signature says who made a release, and not that it is the newest, and not every release says how
long it is valid. So the newest date of each is kept in the cache, and an older one is refused.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
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
"""Options of apt.conf(5) by which a host may do without signatures, and we do not."""

SLACK = 24 * 3600
"""Seconds by which a release may be older than another: mirrors lag behind each other."""

RELEASES = "releases.json"
"""The name of the file that stores the newest date seen of each release."""

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


def refusal(said: str) -> str:
    """Return what apt did not take and why, in a line: what was expected, and what came.

    :param said: what apt has written to its stderr.
    :return: "" where it is about something else.
    """
    for pattern in (_FETCHED, _UNSIGNED, _NO_RELEASE):
        if found := pattern.search(said):
            parts = found.groupdict()
            hashes = dict(_HASHES.findall(parts.get("more", "")))
            compared = [f"the SHA-256 {kind} is {digest}" for kind, digest in hashes.items()]
            return "; ".join((f"{parts['what']}: {parts['why'].strip()}", *compared))
    return ""


def dates(lists: Path) -> str:
    """Return the dates of the releases in a folder of apt's lists, as `check_dates` takes them."""
    return "\n".join(
        f"{path.name}:{line}"
        for path in lists.glob("*Release")
        for line in path.read_text(errors="replace").splitlines()
        if line.startswith("Date: ")
    )


def check_dates(said: str, report: Reporter) -> None:
    """Refuse a release that is older than one that was seen before, and remember the newest.

    :param said: lines of `NAME_InRelease:Date: …`, among others: what `grep -H ^Date:` writes.
    :raises ImageError: one is older by more than a day.
    """
    path = cache.folder("downloads") / RELEASES
    with lock.held(path, report):
        newest = dict(_newest(path))
        for name, text in _DATE.findall(said):
            date = _seconds(text)
            if date < newest.get(name, 0) - SLACK:
                known = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime(newest[name]))
                raise ImageError(
                    f"{name}: its release is of {text}, and there was one of {known} before: "
                    "an old one is sent again",
                    hint=f"try another mirror; or remove {path} to have it all the same",
                )
            newest[name] = max(date, newest.get(name, 0))
        with cache.staging(path) as temporary:
            temporary.write_text(json.dumps(newest))


def _newest(path: Path) -> Iterator[tuple[str, int]]:
    try:
        found = record.read(path, _LIMIT)
    except (OSError, ValueError):
        return
    for name, date in found.items():
        if isinstance(date, int):
            yield name, date


def _seconds(text: str) -> int:
    parts = parsedate_tz(text)
    return mktime_tz(parts) if parts else 0
