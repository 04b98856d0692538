"""Images in a registry, which skopeo gets: it knows registries, mirrors and credentials.

Those are the user's own (`skopeo login`, `docker login`). What it gets is checked here against the
digest that the reference had at first. The layers are stored as skopeo's `dir:` has them, and not
as an OCI layout, for which it would have to write another manifest, of another digest.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from microvm.arch import Arch
from microvm.cache import lock
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.threads import check_stopped
from microvm.tools import finish, started
from microvm_image.extent import Extent
from microvm_image.limits import Limits
from microvm_image.source import Source
from microvm_image.sources import oci
from microvm_image.sources.files import FolderFiles, parse_json

SCHEME = "docker://"

_TIMEOUT = "--command-timeout=60s"  # of what is short
_STALL = 60.0
_SLOW = "the registry takes more than"
_INTERVAL = 0.1
_SLACK = 16 << 20  # for the manifest and the like
_SIZE_LIMIT = 8 << 20  # of what is read into memory
_HINTS = {
    _SLOW.lower(): "if it can be trusted, raise the limit `seconds`: --limit seconds=N",
    "unauthorized|authentication required|denied": (
        "`skopeo login` or `docker login` first, if it is there at all"
    ),
    "no space left": "free some space, or set MICROVM_CACHE to a folder elsewhere",
    "x509|tls: |http response to https": (
        "this host must know its certificate; only a registry on this machine may do without TLS"
    ),
    "http status: 5|toomanyrequests|sends no more": (
        "that is the registry's own trouble: try again later"
    ),
    "invalid reference": "such as docker://python:3.13-slim",
    "unknown": "is the name right, and the tag?",
    "refused|no such host|time-?out|timed out|unreachable|deadline": (
        "is the registry's name right, and can it be reached from here?"
    ),
}
"""What to do, by what skopeo says in lower case."""


def find(text: str, arch: Arch, limits: Limits, report: Reporter, files: ExitStack) -> Source:
    """Return an image of a registry; its layers are fetched when they are read.

    :param text: `docker://` and a reference, as docker has them.
    :param files: what removes the layers again.
    :raises ImageError: it cannot be had, or is not what it should be.
    """
    reference = text.removeprefix(SCHEME)
    report.step(f"looking up {text}")
    repository, _, wanted = reference.partition("@")
    head, slash, last = repository.rpartition("/")
    repository = head + slash + last.partition(":")[0]
    insecure = _is_loopback(reference)

    def inspect(what: str, *options: str) -> bytes:
        command = ["inspect", *options, *_tls("--tls-verify", insecure), f"{SCHEME}{what}"]
        return _skopeo(command, text)

    def read(digest: str) -> Any:
        return _checked(inspect(f"{repository}@sha256:{digest}", "--raw"), digest, text)

    # With a digest, a tag is only for people.
    top = inspect(f"{repository}@{wanted}" if wanted else reference, "--raw")
    first = hashlib.sha256(top).hexdigest()
    if wanted and wanted != f"sha256:{first}":
        raise ImageError(f"{text}: wrong digest: what the registry has is sha256:{first}")
    digest, manifest = oci.select(_manifest(top, text), read, text, arch)
    digest = digest or first
    pinned = f"{repository}@sha256:{digest}"
    config = _checked(
        inspect(pinned, "--config", "--raw"),
        oci.descriptor(oci.member(manifest, "config", dict, text), text).digest,
        text,
    )
    blobs = [oci.descriptor(entry, text) for entry in oci.member(manifest, "layers", list, text)]
    size = sum(blob.size for blob in blobs)
    if size > limits.unpacked:
        raise ImageError(
            f"{text}: is larger than it may be: {size >> 20} MiB",
            hint="if it can be trusted, raise the limit `unpacked`: --limit unpacked=…",
        )
    pull = _Pull(pinned, digest, size, limits.seconds, insecure, report, files)
    return oci.source(text, digest, manifest, config, pull.open, arch)


@dataclass(slots=True)
class _Pull:
    """The layers of an image, which are fetched when the first of them is wanted."""

    pinned: str
    digest: str
    size: int
    seconds: int
    insecure: bool
    report: Reporter
    files: ExitStack
    folder: list[Path] = field(default_factory=list)

    def open(self, blob: oci.Descriptor, files: ExitStack) -> Extent:
        if not self.folder:
            path = cache.folder("downloads") / f"pull-{self.digest[:16]}"
            self.files.enter_context(lock.held(path, self.report))
            folder = self.files.enter_context(cache.scratch(path))
            self.report.step(f"pulling {self.pinned}")
            self._fetch(folder)
            self.folder.append(folder)
        return FolderFiles(self.folder[0]).open(blob.digest, files)

    def _fetch(self, folder: Path) -> None:
        command = [
            *("skopeo", "copy", "--quiet", "--preserve-digests"),
            *_tls("--src-tls-verify", self.insecure),
            *(f"{SCHEME}{self.pinned}", f"dir:{folder}"),
        ]
        with tempfile.TemporaryFile() as log:
            with _started(command, log.fileno()) as process:
                why = self._watch(process, folder)
            if why or process.returncode:
                log.seek(0)
                said = log.read(_SIZE_LIMIT)
                raise _failure(f"{SCHEME}{self.pinned}", said, why)

    def _watch(self, process: subprocess.Popen[bytes], folder: Path) -> str:
        """Return why the pull must end, or "" when it has ended by itself."""
        done, begun = 0, time.monotonic()
        moved = begun
        while process.poll() is None:
            check_stopped()
            time.sleep(_INTERVAL)
            size = sum(path.stat().st_size for path in _files(folder))
            if size != done:
                done, moved = size, time.monotonic()
                self.report.advance(min(done, self.size), self.size)
            if size > self.size + _SLACK:
                return "the registry sends more than the manifest says"
            if time.monotonic() - moved > _STALL:
                return "the registry sends no more"
            if time.monotonic() - begun > self.seconds:
                return f"{_SLOW} {self.seconds} s"
        return ""


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except FileNotFoundError:
        return []


def _is_loopback(reference: str) -> bool:
    """Tell whether a registry is on this machine, where docker does without TLS as well."""
    host, slash, _ = reference.partition("/")
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    try:
        return bool(slash) and (name == "localhost" or ip_address(name.strip("[]")).is_loopback)
    except ValueError:
        return False


def _tls(option: str, insecure: bool) -> list[str]:
    return [f"{option}=false"] if insecure else []


def _manifest(data: bytes, name: str) -> Any:
    """Return a manifest that nothing is known of, so that it may be a web page as well."""
    with suppress(ImageError):
        if isinstance(found := parse_json(data, name), dict):
            return found
    raise ImageError(
        f"{name}: cannot be had: what answers there sends no manifest",
        hint="is it a registry? A proxy or a login page may have answered in its place",
    )


def _checked(data: bytes, digest: str, name: str) -> Any:
    actual = hashlib.sha256(data).hexdigest()
    if actual != digest:
        raise ImageError(f"{name}: wrong digest: the registry sent sha256:{actual} for {digest}")
    return parse_json(data, name)


def _skopeo(arguments: Sequence[str], name: str) -> bytes:
    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as out:
        command = ["skopeo", _TIMEOUT, *arguments]
        with _started(command, log.fileno(), out.fileno()) as process:
            finish(process)
        log.seek(0)
        out.seek(0)
        if process.returncode:
            raise _failure(name, log.read(_SIZE_LIMIT))
        return out.read(_SIZE_LIMIT)


def _started(
    command: Sequence[str], log: int, out: int = subprocess.DEVNULL
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    if shutil.which(command[0]) is None:
        raise ImageError(
            "an image of a registry needs skopeo, which is not installed",
            hint="apt install skopeo",
        )
    return started(command, stdout=out, stderr=log)


def _failure(name: str, said: bytes, why: str = "") -> ImageError:
    text = said.decode(errors="replace").strip()
    last = text.splitlines()[-1] if text else ""
    message = re.search(r'msg="((?:[^"\\]|\\.)*)"', last)
    why = why or (message[1].replace('\\"', '"') if message else last)
    return ImageError(f"{name}: cannot be had: {why}", hint=_hint(why, name))


def _hint(why: str, name: str) -> str:
    lowered = why.lower()
    for said, hint in _HINTS.items():
        if re.search(said, lowered):
            return hint
    return f"`skopeo inspect {name}` tries it by itself"
