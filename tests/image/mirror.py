"""A mirror on the loopback that can send wrong files, and signed archives of Debian packages."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from microvm import arches

SUITE = "trixie"
DAY = 24 * 3600

Lie = Callable[[BaseHTTPRequestHandler, bytes], None]
"""A function that sends the answer instead of the mirror, given the content of the file."""


def send(handler: BaseHTTPRequestHandler, data: bytes, length: int | None = None) -> None:
    """Send a file, with its own length in the header or with another one."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    if "/manifests/" in handler.path:
        handler.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
    handler.end_headers()
    handler.wfile.write(data)


def changed(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Send the file with one changed bit."""
    middle = len(data) // 2
    send(handler, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


def truncated(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Send the file without its last part, with a matching length."""
    send(handler, data[:-7])


def broken_off(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Send the file without its last part, but with the length of the complete file."""
    send(handler, data[:-7], len(data))


def other(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Send something else of the right length."""
    send(handler, bytes(len(data)))


def endless(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Send the file, and then more data until the client disconnects."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 40))
    handler.end_headers()
    with suppress(OSError):  # the client has disconnected
        handler.wfile.write(data)
        while True:
            handler.wfile.write(bytes(1 << 20))


def trickled(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Send one byte at a time, so that the client never waits long for the next byte."""
    send(handler, b"", len(data))
    with suppress(OSError):  # the client no longer reads
        for byte in data:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.05)  # a slow server is what the test needs


LIES: tuple[Lie, ...] = (changed, truncated, broken_off, other, endless)


def serving(files: dict[str, bytes], lies: dict[str, Lie]) -> AbstractContextManager[str]:
    """Serve files by their paths, and yield the address. Both dictionaries may be changed."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.lstrip("/")
        if path in files:
            lies.get(path, send)(handler, files[path])
        else:
            handler.send_error(404)

    return answering(answer)


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Run a web server that answers every GET by a function, and yield its address."""

    class MirrorHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), MirrorHandler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Archive:
    """An archive of Debian packages, with indexes that are signed by its own key.

    :ivar files: The files of the archive, by their paths on a mirror.
    :ivar debian: Debian's name for the architecture of the packages.
    """

    def __init__(self, folder: Path, arch: arches.Arch | None = None) -> None:
        self.folder = folder
        self.debian = (arch or arches.find()).debian
        self.keyring = folder / "key.gpg"
        self.files: dict[str, bytes] = {}
        self._stanzas: list[str] = []
        folder.mkdir()
        self.make_key()
        self.keyring.write_bytes(self._gpg("--export"))

    def make_key(self) -> None:
        """Create a new key, which no host trusts, and use it for all later signatures."""
        self._home = self.folder / f"gnupg-{time.monotonic_ns()}"
        self._home.mkdir(mode=0o700)
        self._gpg("--passphrase", "", "--quick-generate-key", "test", "ed25519", "sign", "never")

    def _gpg(self, *arguments: str, data: bytes = b"") -> bytes:
        command = ["gpg", "--batch", "--quiet", *arguments]
        environment = {**os.environ, "GNUPGHOME": str(self._home)}
        done = subprocess.run(
            command, input=data, env=environment, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def add(self, name: str, version: str, files: dict[str, bytes], *fields: str) -> str:
        """Add a package with files, and return its path on the mirror."""
        tree = self.folder / f"{name}_{version.replace(':', '')}"
        (tree / "DEBIAN").mkdir(parents=True)
        control = "\n".join(
            (
                f"Package: {name}",
                f"Version: {version}",
                f"Architecture: {self.debian}",
                "Maintainer: test <test@example.invalid>",
                *fields,
                "Description: test",
            )
        )
        (tree / "DEBIAN/control").write_text(f"{control}\n")
        for path, data in files.items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_bytes(data)
            (tree / path).chmod(0o755)
        made = tree.with_name(f"{tree.name}.deb")
        subprocess.run(["dpkg-deb", "--build", tree, made], check=True, capture_output=True)
        path = f"pool/{made.name}"
        data = self.files[path] = made.read_bytes()
        self._stanzas.append(
            f"{control}\nFilename: {path}\nSize: {len(data)}\nSHA256: {_sha256(data)}\n"
        )
        return path

    def release(self, *, age: float = 0, suite: str = SUITE, signed: bool = True) -> None:
        """Write the indexes again, with a date of some seconds ago."""
        index = f"main/binary-{self.debian}/Packages"
        packages = "\n".join(self._stanzas).encode()
        now = time.strftime("%a, %d %b %Y %H:%M:%S UTC", time.gmtime(time.time() - age))
        text = (
            f"Origin: Debian\nSuite: stable\nCodename: {suite}\nDate: {now}\n"
            f"Architectures: {self.debian}\nComponents: main\n"
            f"SHA256:\n {_sha256(packages)} {len(packages)} {index}\n"
        ).encode()
        top = f"dists/{suite}"
        self.files[f"{top}/{index}"] = packages
        if signed:
            self.files[f"{top}/InRelease"] = self._gpg("--clearsign", data=text)
        else:
            self.files.pop(f"{top}/InRelease", None)
            self.files[f"{top}/Release"] = text

    def configure(self, address: str) -> Path:
        """Write the configuration of a host whose apt uses this archive, and return its path."""
        sources = self.folder / "sources.list"
        sources.write_text(f"deb [signed-by={self.keyring}] {address} {SUITE} main\n")
        state = self.folder / "state"
        (state / "lists/partial").mkdir(parents=True, exist_ok=True)
        (state / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        path = self.folder / "apt.conf"
        path.write_text(
            f'Dir::Etc::SourceList "{sources}";\nDir::Etc::SourceParts "/dev/null";\n'
            f'Dir::State "{state}";\nDir::State::Status "{state}/status";\n'
            f'Dir::Cache "{state}/cache";\n'
        )
        return path


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
