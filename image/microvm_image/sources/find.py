"""The source that a text means, as `--from` takes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from microvm.arch import Arch
from microvm.cache import store as cache
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm_image.config import Config
from microvm_image.limits import Limits
from microvm_image.source import Source

SCRATCH = "scratch"

_HINT = (
    "a tar archive, a folder, an OCI layout, what `docker save` writes or `-` for its output, "
    "docker://NAME for a registry, debian:SUITE, alpine, scratch, or an image that "
    "`microvm image ls` shows"
)


@contextmanager
def find(
    text: str,
    arch: Arch,
    *,
    packages: Sequence[str] = (),
    folder: Path = Path(),
    limits: Limits | None = None,
    report: Reporter,
) -> Iterator[Source]:
    """Yield the source that a text means; what it needs is there until the end.

    :param packages: what is wanted of a distribution's packages.
    :param folder: the folder that a relative path is in.
    :raises ImageError: there is none, or it is not what it should be.
    """
    from microvm_image.sources import archive, debian, registry  # most runs find none
    from microvm_image.sources import folder as folders

    limits = limits or Limits()
    kind, colon, rest = text.partition(":")
    if packages and kind != "debian":
        raise ImageError(f"{text} takes no packages", hint="debian:SUITE does")
    with ExitStack() as files, cache.disk_errors():
        if text == SCRATCH:
            digest = hashlib.sha256(SCRATCH.encode()).hexdigest()
            found = Source(SCRATCH, SCRATCH, digest, Config(), ())
        elif text.startswith(registry.SCHEME):
            found = registry.find(text, arch, limits, report, files)
        elif text.startswith(debian.SCHEME):
            found = debian.find(text, packages, arch, limits, report)
        elif text == archive.STDIN:
            report.step("reading standard input")
            found = archive.find(text, "", arch, limits, files)
        else:
            path, tag = (rest, "") if colon and kind in {"oci", "docker-archive"} else (text, "")
            if path is rest and not (folder / path).exists():
                path, _, tag = path.rpartition(":")
            where = folder / path
            if not where.exists():
                raise ImageError(f"{text}: there is no such source", hint=_HINT)
            report.step(f"reading {path}")
            if not where.is_dir():
                found = archive.find(str(where), tag, arch, limits, files)
            elif archive.is_layout(where):
                found = archive.find_layout(where, tag, arch)
            else:
                found = folders.find(where, limits)
        yield found
