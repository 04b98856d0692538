"""The source `debian:SUITE`: Debian with packages. The program mmdebstrap builds it.

The mirrors and keys in the configuration of the host's apt are used if they are for Debian. The
result is kept in the cache, and is used again until the release file on a mirror changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from microvm import arches, cache
from microvm.arches import Arch
from microvm.cache import contents, lock
from microvm.errors import ImageError
from microvm.images.config import ImageConfig
from microvm.progress import Reporter
from microvm.system.tools import ToolError, finish, is_full, may_use_all_ids, require, run, started
from microvm_image import disk
from microvm_image.apt import check_dates, refusal
from microvm_image.download import DownloadError, TooSlowError, fetch
from microvm_image.file_range import FileRange
from microvm_image.layer import TarLayer
from microvm_image.limits import Limits
from microvm_image.source import ImageSource
from microvm_image.sources import foreign
from microvm_image.tree import RootfsTree

SCHEME = "debian:"

_SUITE = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}(=[A-Za-z0-9.+:~-]+)?", re.ASCII)
_MIRROR = "http://deb.debian.org/debian"  # Debian's own mirror, the default of mmdebstrap
# Version of the archives that `_make` writes. Archives of another version are not used.
_FORMAT = "2"
# Commands that mmdebstrap runs at its end. They remove files that mmdebstrap has copied from the
# host, and replace the mirrors of the host in sources.list by Debian's own mirror.
_REMOVE_HOST = 'rm -f "$1"/etc/hostname "$1"/etc/resolv.conf'
_LIST_DEBIAN = 'rm -f "$1"/etc/apt/sources.list.d/* && echo {} >"$1"/etc/apt/sources.list'
_SHOW_DATES = 'grep -H ^Date: "$1"/var/lib/apt/lists/*Release >&2'
_STATUS = "var/lib/dpkg/status"
_STATUS_LIMIT = 64 << 20  # maximum size of dpkg's status file, enough for 40,000 packages
# Patterns for the errors of mmdebstrap if an ordinary user may not create a user namespace, or has
# no range of ids for it in /etc/subuid.
_NO_IDS = (
    r"^(unshare|newuidmap|newgidmap): |chroot mode|/etc/sub[ug]id|user namespace|unshare syscall"
)
_FIELD = re.compile(r"^(Package|Version): (\S+)$", re.MULTILINE)


def find(
    text: str,
    packages: Sequence[str],
    arch: Arch,
    limits: Limits,
    report: Reporter,
) -> ImageSource:
    """Return Debian with `packages` as a source; `text` names the suite, as in `debian:trixie`.

    If the cache lacks its root file system, mmdebstrap builds it.

    :param text: `debian:` and the suite, such as `debian:trixie`.
    :param packages: The packages, as `NAME` or `NAME=VERSION`.
    :raises ImageError: mmdebstrap is missing or lacks permissions, there is no network, or a
        package does not exist.
    """
    suite = text.removeprefix(SCHEME)
    _check_names(text, packages)
    wanted = sorted(set(packages))
    path = _archive(suite, wanted, arch, limits.seconds, report)
    layer = TarLayer(text, lambda files: FileRange.of(path, files))
    install = () if arch == arches.find() else foreign.INSTALL
    versions = _versions(layer, limits, is_installed=not install)
    digest = hashlib.sha256("\0".join((text, arch.debian, *versions)).encode()).hexdigest()
    called = " ".join((text, *(f"--package {package}" for package in wanted)))
    pinned = f"{text} ({', '.join(versions)})"
    return ImageSource(called, pinned, digest, ImageConfig(), (layer,), install)


def check(text: str, packages: Sequence[str], arch: Arch) -> None:
    """Check that the suite `text` and the packages have valid names, and mmdebstrap is installed.

    If the cache has the root file system of this suite, mmdebstrap may be missing.

    :raises ImageError: A name is invalid, or a tool is not installed.
    """
    _check_names(text, packages)
    suite = text.removeprefix(SCHEME)
    if not _kept(cache.folder("downloads") / f"debian-{suite}-{arch.debian}"):
        _check_tools(suite)


def _check_names(text: str, packages: Sequence[str]) -> None:
    """Check the form of the suite `text`, such as `debian:trixie`, and of the packages' names."""
    if not _SUITE.fullmatch(text.removeprefix(SCHEME)):
        raise ImageError(f"{text}: not the name of a suite", hint="such as debian:trixie")
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            raise ImageError(f"{package!r} is not the name of a package")


def _check_tools(suite: str) -> None:
    ids = {} if os.geteuid() == 0 else {"unshare": "util-linux", "newuidmap": "uidmap"}
    require(f"{SCHEME}{suite}", {"mmdebstrap": "mmdebstrap", **disk.TOOLS, **ids})


def _archive(
    suite: str, packages: Sequence[str], arch: Arch, seconds: int, report: Reporter
) -> Path:
    """Return an archive of Debian's `suite` with `packages`, built within `seconds` if missing."""
    mirrors = _mirrors(suite)
    facts = (_FORMAT, suite, arch.debian, *packages, *mirrors)
    key = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    stem = cache.folder("downloads") / f"debian-{suite}-{arch.debian}-{key[:12]}"
    if not _kept(stem):
        _check_tools(suite)
    report.step(f"looking for the newest {SCHEME}{suite}")
    slow = None
    try:
        release = _release(mirrors or [_debian(suite)], report)
    except TooSlowError as error:
        release, slow = "", error
    kept = _kept(stem)
    path = stem.with_name(f"{stem.name}-{release}.tar")
    if path in kept:
        contents.use(path)
        return path
    if kept and not release:
        report.notice(f"no mirror of {SCHEME}{suite} answers: an earlier build is used")
        contents.use(kept[0])
        return kept[0]
    if slow:
        raise slow
    with lock.held(stem, report):
        if not cache.has(path):
            _check_tools(suite)
            report.step(f"building {SCHEME}{suite} from its packages")
            with lock.held(path, report), cache.staging(path) as temporary:
                _make(suite, packages, mirrors, arch, temporary, seconds, report)
            for old in kept:
                old.unlink(missing_ok=True)
    return path


def _kept(stem: Path) -> list[Path]:
    """Return the archives of Debian in the cache whose paths begin with `stem`, newest first."""
    return sorted(
        (path for path in stem.parent.glob(f"{stem.name}-*.tar") if cache.has(path)),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )


def _mirrors(suite: str) -> list[str]:
    """Return the lines of a sources.list for a suite. They name the mirrors of the host's apt."""
    form = "$(SITE)|$(RELEASE)|$(COMPONENT)|$(SIGNED_BY)|$(ORIGIN)"
    try:
        text = run(
            ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
            what="asking apt for its mirrors",
        )
    except ToolError:
        return []  # the host has no apt, so use Debian's own mirror
    found: dict[str, str] = {}
    others: dict[str, str] = {}
    for line in text.splitlines():
        site, release, component, key, origin = line.split("|", 4)
        if component != "main" or "Debian" not in origin:
            continue
        signed = f" [signed-by={key}]" if key.startswith("/") else ""
        if release in {suite, f"{suite}-updates", f"{suite}-security"}:
            found[f"deb{signed} {site} {release} main"] = ""
        elif "-" not in release:
            others[f"deb{signed} {site} {suite} main"] = ""
    return list(found or others)


def _debian(suite: str) -> str:
    """Return the line for sources.list that names Debian's own mirror."""
    return f"deb {_MIRROR} {suite} main"


def _release(mirrors: Sequence[str], report: Reporter) -> str:
    """Return a digest of the mirrors' current release files; "" if a mirror does not answer."""
    digest = hashlib.sha256()
    for line in mirrors:
        *_, site, suite, _ = line.split()
        try:
            digest.update(fetch(f"{site.rstrip('/')}/dists/{suite}/InRelease", report))
        except TooSlowError:
            raise
        except DownloadError:
            return ""
    return digest.hexdigest()[:12]


def _make(
    suite: str,
    packages: Sequence[str],
    mirrors: Sequence[str],
    arch: Arch,
    out: Path,
    seconds: int,
    report: Reporter,
) -> None:
    # Some hosts allow mmdebstrap, but not this process, to create a user namespace. Then mmdebstrap
    # creates its namespace itself. Its processes run with ids that cannot access the cache, so its
    # temporary files are in $TMPDIR.
    isolate = may_use_all_ids()
    is_foreign = arch != arches.find()
    variant = foreign.OPTIONS if is_foreign else ("--variant=minbase",)
    hook = foreign.HOOK if is_foreign else "customize-hook"
    command = [
        *("mmdebstrap", *([] if isolate else ["--mode=unshare"])),
        *(*variant, "--format=tar"),
        f"--architectures={arch.debian}",
        f"--{hook}={_SHOW_DATES}",
        f"--{hook}={_REMOVE_HOST}",
        f"--{hook}={_LIST_DEBIAN.format(shlex.quote(_debian(suite)))}",
        *([f"--include={','.join(packages)}"] if packages else []),
        *(suite, str(out), *mirrors),
    ]
    # If SOURCE_DATE_EPOCH is set, compiled modules of Python contain digests of their source files,
    # and Python computes each digest again at every start. So remove the variable.
    environment = {name: text for name, text in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    environment["LC_ALL"] = "C"
    pipe = subprocess.PIPE
    with started(
        command,
        temporary=out.parent if isolate else None,
        all_ids=isolate,
        isolate=isolate,
        stdout=subprocess.DEVNULL,
        stderr=pipe,
        env=environment,
    ) as maker:
        _, err = finish(maker, partial(_check_time, suite, seconds, time.monotonic()))
    output = err.decode(errors="replace")
    if maker.returncode:
        command[command.index(str(out))] = "/dev/null"
        raise _failure(suite, output, shlex.join(command))
    check_dates(output, report)


def _check_time(suite: str, seconds: int, begun: float) -> None:
    if time.monotonic() - begun > seconds:
        raise ImageError(
            f"cannot get {SCHEME}{suite}: it took more than {seconds} s; the mirror may be slow",
            hint="try another mirror; or raise the limit `seconds`: --limit seconds=N",
        )


def _failure(suite: str, output: str, command: str) -> ImageError:
    why = refusal(output)
    lines = output.strip().splitlines()
    unknown = re.search(r"Unable to locate package (\S+)", output)
    if unknown:
        return ImageError(f"{SCHEME}{suite} has no package {unknown[1]}")
    # look also for apt's own message about a full disk, which `is_full` does not know
    if is_full(output) or "enough free space" in output:
        why = "disk full"
        hint = cache.HINT_FULL
    elif re.search(_NO_IDS, output, re.MULTILINE):
        hint = (
            "as an ordinary user it needs user namespaces, newuidmap (apt install uidmap), "
            "and a range of ids in /etc/subuid and /etc/subgid; root needs nothing"
        )
    elif re.search(r"404|no Release|not have a Release|resolve|connect|timed out", why):
        hint = "check the name of the suite, such as debian:trixie, and the network"
    elif why:
        hint = "the mirror sends something else than was signed: try another one, or try later"
    else:
        hint = f"`{command}` shows more"
    why = why or (lines[-1] if lines else "mmdebstrap failed")
    return ImageError(
        f"cannot get {SCHEME}{suite}: {why}",
        hint=hint,
        detail="\n".join(lines[-20:]),
    )


def _versions(layer: TarLayer, limits: Limits, *, is_installed: bool) -> list[str]:
    """Return the Debian packages that are in a layer, installed or not yet, as `NAME=VERSION`."""
    with ExitStack() as files:
        tree = files.enter_context(RootfsTree(limits))
        tree.add(layer)
        if not is_installed:
            return sorted(foreign.versions(tree))
        status = tree.file(_STATUS)
        if status and status.size > _STATUS_LIMIT:
            raise ImageError(f"{layer.name}: {_STATUS} has more than {_STATUS_LIMIT >> 20} MiB")
        text = b"".join(status.chunks()).decode(errors="replace") if status else ""
    stanzas = (dict(_FIELD.findall(stanza)) for stanza in text.split("\n\n"))
    return sorted(
        f"{fields['Package']}={fields['Version']}"
        for fields in stanzas
        if fields.keys() >= {"Package", "Version"}
    )
