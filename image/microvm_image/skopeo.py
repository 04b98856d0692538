"""Runs the program skopeo, which transfers images to and from registries.

skopeo uses the credentials from `skopeo login` or `docker login`. Images are stored in skopeo's
format `dir:`. For an OCI layout, skopeo would write another manifest, which has another digest. The
manifest is looked up once, and everything that skopeo downloads is compared with its digests.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from microvm import cache
from microvm.cache import lock
from microvm.concurrency.threads import check_stopped
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.system import platform
from microvm.system.tools import finish, require, started, temporary_folder
from microvm_image.download_speed import DownloadSpeed, size_of, too_slow
from microvm_image.file_range import FileRange
from microvm_image.limits import how_to_raise
from microvm_image.sources import oci
from microvm_image.sources.files import FolderFiles, parse_json

SCHEME = "docker://"

_SHORT = "--command-timeout=60s"  # time limit of requests that transfer no layers
_SLOW = "the registry takes more than"
_INTERVAL = 0.1
_SLACK = 16 << 20  # maximum size of the manifest and the config together, in bytes
_SIZE_LIMIT = 8 << 20  # maximum size of skopeo's output, in bytes
# number of bytes to read from the end of skopeo's messages, where its last error is
_TAIL = 64 << 10
_MISSING = "(manifest|name) unknown|not found"
_HINTS = {
    _SLOW.lower(): how_to_raise("seconds"),
    "unauthorized|authentication required|denied": (
        "check the name; if it is private, run `skopeo login` or `docker login` first"
    ),
    "no space left": "free some space, or set MICROVM_CACHE to a folder elsewhere",
    "x509|tls: |http response to https": (
        "install its certificate on this host; only a registry on this host may lack TLS"
    ),
    "http status: 5|toomanyrequests|too slow": ("the registry has a problem: try again later"),
    "invalid reference": "such as docker://python:3.13-slim",
    "unknown": "check the name and the tag",
    "refused|no such host|time-?out|timed out|unreachable|deadline": (
        "check the name of the registry, and whether this host can reach it"
    ),
}
"""Hints for errors of skopeo, by a pattern that matches the error's message in lower case."""


def check() -> None:
    """Check that skopeo is installed.

    :raises ImageError: skopeo is not installed.
    """
    require("an image of a registry", {"skopeo": "skopeo"})


class MissingError(ImageError):
    """Raised if a registry has no image of that name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest that was found in a registry.

    :ivar repository: The repository, as HOST/REPOSITORY.
    :ivar digest: The SHA-256 of the manifest, in hex.
    """

    repository: str
    digest: str
    manifest: Any

    def pinned(self, digest: str) -> str:
        """Return the reference of another manifest in the same repository, given its digest."""
        return f"{SCHEME}{self.repository}@sha256:{digest}"


def look_up(text: str) -> Found:
    """Download the manifest that a reference, such as `docker://debian:13`, names.

    :param text: `docker://` and a reference, as docker writes it.
    :raises MissingError: There is no such manifest.
    :raises ImageError: The registry cannot be reached, or the manifest is no JSON object or has
        another digest.
    """
    reference = text.removeprefix(SCHEME)
    repository, _, wanted = reference.partition("@")
    head, slash, last = repository.rpartition("/")
    repository = head + slash + last.partition(":")[0]
    # skopeo refuses a reference with a tag and a digest. Remove the tag, because the digest alone
    # identifies the manifest.
    data = inspect(f"{SCHEME}{repository}@{wanted}" if wanted else text, "--raw")
    digest = hashlib.sha256(data).hexdigest()
    if wanted and wanted != f"sha256:{digest}":
        raise ImageError(f"{text}: wrong digest: the registry has sha256:{digest}")
    return Found(repository, digest, _manifest(data, text))


def inspect(text: str, *options: str) -> bytes:
    """Return the output of `skopeo inspect` for the reference `text`, at most 8 MiB.

    :raises MissingError: The registry has no image of that name.
    :raises ImageError: The registry cannot be reached, or refuses the request.
    """
    return _run([_SHORT, "inspect", *options, *_tls("--tls-verify", text), text], text)


def push(folder: Path, text: str, seconds: int) -> None:
    """Upload the image or artifact in `folder` to a registry as `text`, unchanged.

    :param folder: A folder in skopeo's format `dir:`.
    :param text: `docker://` and a reference, as docker writes it.
    :param seconds: Maximum duration of the upload.
    :raises ImageError: The registry cannot be reached, or refuses the upload.
    """
    options = ["--quiet", "--preserve-digests", *_tls("--dest-tls-verify", text)]
    command = [f"--command-timeout={seconds}s", "copy", *options, f"dir:{folder}", text]
    _run(command, text, temporary=folder.parent)


@dataclass(slots=True)
class Pull:
    """A download of an image's blobs (layers and config). It starts when the first blob is needed.

    :ivar pinned: The reference of the manifest, with its digest.
    :ivar size: The total size of the blobs, in bytes.
    :ivar seconds: Maximum duration of the download.
    :ivar files: The exit stack that removes the downloaded blobs.
    """

    pinned: str
    size: int
    seconds: int
    report: Reporter
    files: ExitStack
    _folder: list[Path] = field(default_factory=list)

    def open(self, blob: oci.BlobDescriptor, files: ExitStack) -> FileRange:
        """Open a blob, after downloading all blobs at the first call.

        :raises ImageError: The blobs cannot be downloaded, or the blob does not exist.
        """
        if not self._folder:
            path = cache.folder("downloads") / f"pull-{self.pinned[-64:][:16]}"
            self.files.enter_context(lock.held(path, self.report))
            folder = self.files.enter_context(cache.scratch(path))
            self.report.step(f"pulling {self.pinned}")
            self._fetch(folder)
            self._folder.append(folder)
        return FolderFiles(self._folder[0]).open(blob.digest, files)

    def _fetch(self, folder: Path) -> None:
        options = ["--quiet", "--preserve-digests", *_tls("--src-tls-verify", self.pinned)]
        command = ["copy", *options, self.pinned, f"dir:{folder}"]
        watch = partial(self._watch, folder)
        _run(command, self.pinned, watch, temporary=folder.parent)

    def _watch(self, folder: Path, process: subprocess.Popen[bytes]) -> str:
        """Wait until the download ends, and return "", or the reason why it must be cancelled."""
        begun, pace = time.monotonic(), DownloadSpeed()
        while process.poll() is None:
            check_stopped()
            time.sleep(_INTERVAL)
            size = size_of(folder)
            self.report.advance(min(size, self.size), self.size)
            if size > self.size + _SLACK:
                return "the registry sends more than the manifest says"
            if pace.is_too_slow(size):
                return f"the registry is {too_slow()}"
            if time.monotonic() - begun > self.seconds:
                return f"{_SLOW} {self.seconds} s"
        return ""


def _is_loopback(text: str) -> bool:
    """Return True if the registry in the reference `text` is on this host, so it needs no TLS."""
    host, slash, _ = text.removeprefix(SCHEME).partition("/")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    try:
        return bool(slash) and (name == "localhost" or ip_address(name.strip("[]")).is_loopback)
    except ValueError:
        return False


def _tls(option: str, text: str) -> list[str]:
    return [f"{option}=false"] if _is_loopback(text) else []


def _manifest(data: bytes, name: str) -> Any:
    """Parse `data`, the manifest of the image `name`. A registry sent it, so it may be anything."""
    with suppress(ImageError):
        if isinstance(found := parse_json(data, name), dict):
            return found
    raise ImageError(
        f"cannot get {name}: the server's answer is no manifest",
        hint="check that it is a registry; a proxy or a login page may have answered instead",
    )


def _finished(process: subprocess.Popen[bytes]) -> str:
    finish(process)
    return ""


def _run(
    command: Sequence[str],
    name: str,
    watch: Callable[[subprocess.Popen[bytes]], str] = _finished,
    *,
    temporary: Path | None = None,
) -> bytes:
    """Run skopeo with the arguments `command`, and return its output. Errors name the image `name`.

    :param watch: A function that waits until skopeo exits, or returns the reason to kill skopeo.
    :param temporary: The folder for the temporary files of skopeo; by default $TMPDIR.
    """
    check()
    with (
        # Keep skopeo's messages in memory. If the disk is full, no file could store its message
        # about that.
        os.fdopen(platform.memory_file("log"), "w+b") as log,
        tempfile.TemporaryFile(dir=temporary_folder()) as out,
    ):
        skopeo = ["skopeo", *command]
        with started(skopeo, temporary=temporary, stdout=out, stderr=log) as process:
            why = watch(process)
        out.seek(0)
        if why or process.returncode:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL))
            raise _failure(name, log.read(_TAIL), why)
        return out.read(_SIZE_LIMIT)


def _failure(name: str, output: bytes, why: str = "") -> ImageError:
    text = output.decode(errors="replace").strip()
    last = text.splitlines()[-1] if text else ""
    message = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
    why = why or (message[1].replace('\\"', '"') if message else last)
    kind = MissingError if re.search(_MISSING, why.lower()) else ImageError
    return kind(f"cannot get {name}: {why}", hint=_hint(why, name))


def _hint(why: str, name: str) -> str:
    lowered = why.lower()
    for pattern, hint in _HINTS.items():
        if re.search(pattern, lowered):
            return hint
    return f"`skopeo inspect {name}` shows the error alone"
