"""The download of a file within a bounded time, whatever the network does."""

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
"""Seconds to the answer's header: name resolution, connection, TLS and redirects together."""
STALL_TIMEOUT = 15.0
TOTAL_TIMEOUT = 300.0
SIZE_LIMIT = 64 << 20

_INTERVAL = 0.1

Events = queue.SimpleQueue[int | bytes | str]
"""The body's length or 0, once; its parts; an empty part at its end, or why it failed."""


class DownloadError(ImageError):
    """The file cannot be downloaded: it is not there, or there is no way to it."""


class TooSlowError(DownloadError):
    """The server sends the file too slowly, so that it would take hours."""


def fetch(url: str, report: Reporter) -> bytes:
    """Download the file at an `http:` or `https:` address; it may have at most 64 MiB.

    :raises TooSlowError: the server sends it too slowly.
    :raises DownloadError: it cannot be downloaded, or not in time.
    :raises ImageError: it is larger.
    """
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: not an http or https address")
    events: Events = queue.SimpleQueue()
    # A thread, because nothing bounds getaddrinfo: one that does not return is left behind.
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
    # Slow to import, and an ordinary run downloads nothing.

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
    except Exception as error:  # whatever it is, the other thread waits for it
        events.put(str(getattr(error, "reason", error)) or type(error).__name__)
