"""The program skopeo, which gets images: it knows registries, mirrors and credentials.

Those are the user's own (`skopeo login`, `docker login`). What it gets is checked here against the
digest that the reference had at first. It is stored as skopeo's `dir:` has it, and not as an OCI
layout, for which it would have to write another manifest, of another digest.
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
from microvm.system.tools import finish, require, started, temporary_folder
from microvm_image.download_speed import DownloadSpeed, size_of, too_slow
from microvm_image.file_range import FileRange
from microvm_image.limits import how_to_raise
from microvm_image.sources import oci
from microvm_image.sources.files import FolderFiles, parse_json

SCHEME = "docker://"

_SHORT = "--command-timeout=60s"  # of what is short
_SLOW = "the registry takes more than"
_INTERVAL = 0.1
_SLACK = 16 << 20  # for the manifest and the like
_SIZE_LIMIT = 8 << 20  # of what is read into memory
_SAID = 64 << 10  # number of bytes read from the end of its messages; the last message is the error
_MISSING = "(manifest|name) unknown|not found"
_HINTS = {
    _SLOW.lower(): how_to_raise("seconds"),
    "unauthorized|authentication required|denied": (
        "`skopeo login` or `docker login` first, if it is there at all"
    ),
    "no space left": "free some space, or set MICROVM_CACHE to a folder elsewhere",
    "x509|tls: |http response to https": (
        "this host must know its certificate; only a registry on this machine may do without TLS"
    ),
    "http status: 5|toomanyrequests|too slow": (
        "that is the registry's own trouble: try again later"
    ),
    "invalid reference": "such as docker://python:3.13-slim",
    "unknown": "is the name right, and the tag?",
    "refused|no such host|time-?out|timed out|unreachable|deadline": (
        "is the registry's name right, and can it be reached from here?"
    ),
}
"""What to do, by what skopeo says in lower case."""


def check() -> None:
    """Check that skopeo is installed.

    :raises ImageError: it is not.
    """
    require("an image of a registry", {"skopeo": "skopeo"})


class MissingError(ImageError):
    """A registry says that there is nothing by that name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A manifest that a registry has.

    :ivar repository: where it is: HOST/REPOSITORY.
    :ivar digest: its SHA-256, in hex.
    :ivar manifest: what it says.
    """

    repository: str
    digest: str
    manifest: Any

    def pinned(self, digest: str) -> str:
        """Return the reference of another manifest in its repository, by its digest."""
        return f"{SCHEME}{self.repository}@sha256:{digest}"


def look_up(text: str) -> Found:
    """Return the manifest of a reference.

    :param text: `docker://` and a reference, as docker has them.
    :raises MissingError: there is none.
    :raises ImageError: it cannot be had, is no object of JSON, or has another digest.
    """
    reference = text.removeprefix(SCHEME)
    repository, _, wanted = reference.partition("@")
    head, slash, last = repository.rpartition("/")
    repository = head + slash + last.partition(":")[0]
    # With a digest, a tag is only for people.
    data = inspect(f"{SCHEME}{repository}@{wanted}" if wanted else text, "--raw")
    digest = hashlib.sha256(data).hexdigest()
    if wanted and wanted != f"sha256:{digest}":
        raise ImageError(f"{text}: wrong digest: what the registry has is sha256:{digest}")
    return Found(repository, digest, _manifest(data, text))


def inspect(text: str, *options: str) -> bytes:
    """Return what `skopeo inspect` says of a reference, at most 8 MiB of it.

    :raises MissingError: there is nothing of that name.
    :raises ImageError: it cannot be had.
    """
    return _run([_SHORT, "inspect", *options, *_tls("--tls-verify", text), text], text)


def push(folder: Path, text: str, seconds: int) -> None:
    """Put what a folder holds, as skopeo's `dir:` has it, into a registry, bit for bit.

    :param seconds: what it may take.
    :raises ImageError: the registry cannot be reached, or does not take it.
    """
    options = ["--quiet", "--preserve-digests", *_tls("--dest-tls-verify", text)]
    command = [f"--command-timeout={seconds}s", "copy", *options, f"dir:{folder}", text]
    _run(command, text, temporary=folder.parent)


@dataclass(slots=True)
class Pull:
    """The blobs of a manifest, which are fetched when the first of them is wanted.

    :ivar pinned: the manifest's reference, by its digest.
    :ivar size: what the blobs have together, in bytes.
    :ivar seconds: what it may take.
    :ivar files: what removes them again.
    """

    pinned: str
    size: int
    seconds: int
    report: Reporter
    files: ExitStack
    _folder: list[Path] = field(default_factory=list)

    def open(self, blob: oci.BlobDescriptor, files: ExitStack) -> FileRange:
        """Return a blob, which is closed with `files`.

        :raises ImageError: it cannot be had, or there is no such blob.
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
        """Return why the pull must end, or "" when it has ended by itself."""
        done, begun, pace = 0, time.monotonic(), DownloadSpeed()
        while process.poll() is None:
            check_stopped()
            time.sleep(_INTERVAL)
            size = size_of(folder)
            if size != done:
                done = size
                self.report.advance(min(done, self.size), self.size)
            if size > self.size + _SLACK:
                return "the registry sends more than the manifest says"
            if pace.is_too_slow(size):
                return f"the registry is {too_slow()}"
            if time.monotonic() - begun > self.seconds:
                return f"{_SLOW} {self.seconds} s"
        return ""


def _is_loopback(text: str) -> bool:
    """Tell whether a registry is on this machine, where docker does without TLS as well."""
    host, slash, _ = text.removeprefix(SCHEME).partition("/")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    try:
        return bool(slash) and (name == "localhost" or ip_address(name.strip("[]")).is_loopback)
    except ValueError:
        return False


def _tls(option: str, text: str) -> list[str]:
    return [f"{option}=false"] if _is_loopback(text) else []


def _manifest(data: bytes, name: str) -> Any:
    """Return a manifest that nothing is known of, so that it may be a web page as well."""
    with suppress(ImageError):
        if isinstance(found := parse_json(data, name), dict):
            return found
    raise ImageError(
        f"{name}: cannot be had: what answers there sends no manifest",
        hint="is it a registry? A proxy or a login page may have answered in its place",
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
    """Run skopeo, and return what it writes.

    :param watch: waits until skopeo exits, or returns the reason to kill it.
    :param temporary: the folder for its temporary files, by default $TMPDIR.
    """
    check()
    with (
        # in memory, because a full disk could not store the error
        os.fdopen(os.memfd_create("log"), "w+b") as log,
        tempfile.TemporaryFile(dir=temporary_folder()) as out,
    ):
        skopeo = ["skopeo", *command]
        with started(skopeo, temporary=temporary, stdout=out, stderr=log) as process:
            why = watch(process)
        out.seek(0)
        if why or process.returncode:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _SAID))
            raise _failure(name, log.read(_SAID), why)
        return out.read(_SIZE_LIMIT)


def _failure(name: str, said: bytes, why: str = "") -> ImageError:
    text = said.decode(errors="replace").strip()
    last = text.splitlines()[-1] if text else ""
    message = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
    why = why or (message[1].replace('\\"', '"') if message else last)
    kind = MissingError if re.search(_MISSING, why.lower()) else ImageError
    return kind(f"{name}: cannot be had: {why}", hint=_hint(why, name))


def _hint(why: str, name: str) -> str:
    lowered = why.lower()
    for said, hint in _HINTS.items():
        if re.search(said, lowered):
            return hint
    return f"`skopeo inspect {name}` tries it by itself"
