"""Tests that a download ends in time if the network or the server hangs."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from microvm import progress
from microvm.errors import ImageError
from microvm.progress import NullReporter
from microvm_image import download, download_speed

Serve = Callable[[socket.socket], object]


@contextmanager
def server(serve: Serve) -> Iterator[str]:
    """Return the address of a server that handles one connection with a function."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        thread.join()


def header(length: int) -> bytes:
    return b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % length


def failure(url: str, kind: type[ImageError] = download.DownloadError) -> str:
    with pytest.raises(ImageError) as caught:
        download.fetch(url, NullReporter())
    assert type(caught.value) is kind
    return caught.value.message


def test_body_is_complete() -> None:
    body = bytes(range(256)) * 1024
    with server(lambda c: c.sendall(header(len(body)) + body)) as url:
        assert download.fetch(url, NullReporter()) == body


def test_name_resolution_that_hangs_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(10) and [])
    monkeypatch.setattr(download, "CONNECT_TIMEOUT", 0.2)
    begin = time.monotonic()
    assert "no answer within 0.2 s" in failure("http://mirror.invalid/file")
    assert time.monotonic() - begin < 5
    over.set()


def test_silent_server_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "STALL_TIMEOUT", 0.2)
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(header(9) + b"part")
        over.wait(10)

    with server(serve) as url:
        assert failure(url) == f"{url}: received nothing for 0.2 s"
        over.set()


def test_endless_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SIZE_LIMIT", 1 << 20)
    with server(lambda c: c.sendall(header(4 << 20) + bytes((1 << 20) + 1))) as url:
        assert "more than 1 MiB" in failure(url, ImageError)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/", "x", "http://[", "http://"])
def test_invalid_address_is_refused(url: str) -> None:
    assert url in failure(url)


def test_slow_server_is_reported_and_then_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download_speed, "WINDOW", 0.5)
    monkeypatch.setattr(progress, "FIRST_LINE", 0.1)
    report = progress.LineReporter()
    report.step("downloading x")
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(header(1 << 20))
        with suppress(OSError):
            while not over.wait(0.02):
                connection.sendall(b"x")

    with server(serve) as url:
        with pytest.raises(download.TooSlowError, match="less than 1024 bytes per second"):
            download.fetch(url, report)
        over.set()
    lines = r"microvm: downloading x\nmicrovm: downloading x: 0 % after \d+ s\n"
    assert re.fullmatch(lines, capsys.readouterr().err)
