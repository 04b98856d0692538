"""The download of a file. Its time is limited, even if the network or the server hangs."""

from __future__ import annotations

import queue
import time
import urllib.error
import urllib.request
from contextlib import suppress

from microvm.concurrency.threads import check_stopped, start_thread
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image.download_speed import DownloadSpeed, too_slow

CONNECT_TIMEOUT = 5.0
"""Number of seconds until the header of the answer: name resolution, connection, TLS and redirects.
"""
STALL_TIMEOUT = 15.0
"""Maximum number of seconds between two pieces of the body."""
TOTAL_TIMEOUT = 300.0
"""Maximum number of seconds of the whole download."""
SIZE_LIMIT = 64 << 20

_INTERVAL = 0.1
_HINT = "use another mirror, or try again later"

Events = queue.SimpleQueue[int | bytes | str]
"""The type of the queue by which a thread passes on a download: the length of the body, or 0 if it
is unknown; then the pieces of the body; then b"", or an error as text."""


class DownloadError(ImageError):
    """Raised if a file cannot be downloaded: the server lacks it, or cannot be reached."""


class TooSlowError(DownloadError):
    """Raised if the server sends a file so slowly that the download would take hours."""


def fetch(url: str, report: Reporter) -> bytes:
    """Download a file of at most 64 MiB from an `http:` or `https:` address.

    :raises TooSlowError: The server sends the file too slowly.
    :raises DownloadError: The file cannot be downloaded, or not in time.
    :raises ImageError: The file is too large.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: not an http or https address")
    events: Events = queue.SimpleQueue()
    # getaddrinfo has no time-out. So download in a thread, and abandon the thread if it hangs.
    start_thread(_receive, url, events)
    deadline = time.monotonic() + TOTAL_TIMEOUT
    total: int | None = None  # the number of bytes that the server has announced
    wait, stalled = CONNECT_TIMEOUT, f"no answer within {CONNECT_TIMEOUT:g} s"
    body = bytearray()
    pace = DownloadSpeed()
    while True:
        until = min(time.monotonic() + wait, deadline)
        while (event := _next(events, until)) is None and time.monotonic() < until:
            report.advance(len(body), total)
        match event:
            case None:
                why = f"it takes more than {TOTAL_TIMEOUT:g} s" if until == deadline else stalled
                raise DownloadError(f"{url}: {why}", hint=_HINT)
            case int():
                wait, total = STALL_TIMEOUT, event or None
                stalled = f"received nothing for {STALL_TIMEOUT:g} s"
            case bytes() if event:
                body += event
                if len(body) > SIZE_LIMIT:
                    raise ImageError(f"{url}: sends more than {SIZE_LIMIT >> 20} MiB")
                report.advance(len(body), total)
                if pace.is_too_slow(len(body)):
                    raise TooSlowError(f"{url}: {too_slow()}", hint=_HINT)
            case bytes():
                return bytes(body)
            case str():
                raise DownloadError(f"{url}: {event}")


def _next(events: Events, until: float) -> int | bytes | str | None:
    """Return the next event, or None if there is none for a short time, or `until` a time."""
    check_stopped()
    with suppress(queue.Empty):
        return events.get(timeout=max(0.0, min(_INTERVAL, until - time.monotonic())))
    return None


def _receive(url: str, events: Events) -> None:
    # `fetch` gives up before this time-out, so that its errors say which limit was exceeded.
    timeout = 2 * STALL_TIMEOUT
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 -- checked
            events.put(int(answer.headers.get("Content-Length") or 0))
            received = 0
            while part := answer.read1(1 << 16):
                received += len(part)
                events.put(part)
                if received > SIZE_LIMIT:
                    return
            events.put(b"")
    except urllib.error.HTTPError as error:
        with error:
            events.put(f"{error.code} {error.reason}")
    # Send every error to the thread that waits for the download. Without the error, that thread
    # would wait until its time-out.
    except Exception as error:
        events.put(str(getattr(error, "reason", error)) or type(error).__name__)
