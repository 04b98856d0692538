"""The download of a file. Its time is limited, even if the network or the server hangs."""

from __future__ import annotations

import queue
import time
import urllib.error
import urllib.request

from microvm.concurrency.threads import check_stopped, start_thread
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image.download_speed import DownloadSpeed, too_slow

CONNECT_TIMEOUT = 5.0
"""Number of seconds until the header of the answer: name resolution, connection, TLS and redirects.
"""
STALL_TIMEOUT = 15.0
TOTAL_TIMEOUT = 300.0
SIZE_LIMIT = 64 << 20

_INTERVAL = 0.1

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
    wait, total = CONNECT_TIMEOUT, 0
    body = bytearray()
    pace = DownloadSpeed()
    while True:
        try:
            event = _next(events, min(time.monotonic() + wait, deadline))
        except queue.Empty:
            raise DownloadError(f"{url}: no answer in time") from None
        match event:
            case int():
                wait, total = STALL_TIMEOUT, event
            case bytes() if event:
                body += event
                if len(body) > SIZE_LIMIT:
                    raise ImageError(f"{url}: sends more than {SIZE_LIMIT >> 20} MiB")
                report.advance(len(body), total or None)
                if pace.is_too_slow(len(body)):
                    hint = "use another mirror, or try again later"
                    raise TooSlowError(f"{url}: {too_slow()}", hint=hint)
            case bytes():
                return bytes(body)
            case str():
                raise DownloadError(f"{url}: {event}")


def _next(events: Events, until: float) -> int | bytes | str:
    while True:
        check_stopped()
        try:
            return events.get(timeout=max(0.0, min(_INTERVAL, until - time.monotonic())))
        except queue.Empty:
            if time.monotonic() >= until:
                raise


def _receive(url: str, events: Events) -> None:
    try:
        with urllib.request.urlopen(url, timeout=STALL_TIMEOUT) as answer:  # noqa: S310 -- checked
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
