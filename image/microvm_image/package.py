"""Downloads Debian packages, and extracts files from them. This needs no root permissions."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microvm import cache
from microvm.arches import Arch
from microvm.cache import contents, lock
from microvm.errors import ImageError
from microvm.progress import Reporter
from microvm.system.tools import run, started
from microvm_image.apt import FORBIDDEN, check_dates, dates, refusal
from microvm_image.download_speed import DownloadSpeed, size_of, too_slow


@dataclass(frozen=True, slots=True)
class WantedPackage:
    """The name of a Debian package, and patterns for the files that are needed from it.

    :ivar member: A pattern for the path of the file in the package, such as `boot/vmlinuz-.*`.
    :ivar companions: A pattern for the paths of further files, which the package may lack.
    :ivar stands_for: The beginning of another package's name, if the package itself is empty and
        depends on the newest version of that other package, which contains the file.
    :ivar version: The version of both packages; by default the newest.
    """

    package: str
    member: str
    companions: str = ""
    stands_for: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Extracted:
    """A file that was extracted from a Debian package into the cache, such as a kernel.

    Other needed files of the package, its companions, are in the cache, too.

    :ivar version: The version of the package, as Debian writes it.
    """

    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class _Package:
    """A package that apt's package lists offer: its name, version, dependencies and size.

    :ivar size: The size of the package in bytes; None if it is unknown.
    """

    name: str
    version: str
    depends: str
    size: int | None


class _Apt:
    """The tools of apt. They use the package lists of this host, or separate lists in a folder."""

    def __init__(self, arch: Arch, state: Path | None = None) -> None:
        self._options = [
            "-o=Acquire::Retries=1",
            "-o=Acquire::http::Timeout=10",
            "-o=Acquire::https::Timeout=10",
            *(f"-o={option}=false" for option in FORBIDDEN),
        ]
        self._arch = arch
        self._state = state
        self._trouble = ImageError("")
        if state is None:
            return
        (state / "lists" / "partial").mkdir(parents=True)
        (state / "cache" / "archives" / "partial").mkdir(parents=True)
        (state / "status").touch()
        self._options += [
            f"-o=Dir::State={state}",
            f"-o=Dir::State::Lists={state}/lists",
            f"-o=Dir::State::Status={state}/status",
            f"-o=Dir::Cache={state}/cache",
            f"-o=APT::Architecture={arch.debian}",
            f"-o=APT::Architectures={arch.debian}",
            "-o=Acquire::Languages=none",
        ]

    def update(self, report: Reporter) -> None:
        """Download the package lists. If that fails, the error is stored, and not raised.

        If a package is not found later, the error for this package contains the stored one.
        """
        command = ["apt-get", *self._options, "-o=APT::Update::Error-Mode=any", "update"]
        try:
            task = "fetching the package lists"
            _run(command, task=task, into=self._state, report=report)
        except ImageError as error:
            self._trouble = error
        if self._state:
            check_dates(dates(self._state / "lists"), report)

    def find(self, wanted: WantedPackage) -> _Package:
        package = self._show(wanted.package, wanted.version)
        if not wanted.stands_for:
            return package
        if (found := re.match(rf"{re.escape(wanted.stands_for)}\S*", package.depends)) is None:
            raise ImageError(f"package {wanted.package} depends on no {wanted.stands_for}*")
        return self._show(found[0], wanted.version)

    def _show(self, name: str, version: str) -> _Package:
        command = ["apt-cache", *self._options, "show", "--no-all-versions"]
        exact = f"{name}:{self._arch.debian}" + (f"={version}" if version else "")
        try:
            text = run([*command, exact], what=f"looking up {name}")
            fields = dict(re.findall(r"^([\w-]+): (.*)$", text, re.MULTILINE))
            size = int(fields["Size"]) if fields.get("Size", "").isdecimal() else None
            return _Package(fields["Package"], fields["Version"], fields.get("Depends", ""), size)
        except (ImageError, KeyError) as error:
            trouble = self._trouble
            why = trouble.message or "this host is no Debian, or has no network"
            raise ImageError(
                f"apt knows no package {' '.join(filter(None, (name, version)))}: {why}",
                detail=trouble.detail or getattr(error, "detail", ""),
            ) from error

    def download(self, package: _Package, folder: Path, report: Reporter) -> Path:
        exact = f"{package.name}:{self._arch.debian}={package.version}"
        command = ["apt-get", *self._options, "download", exact]
        task, size = f"downloading {package.name}", package.size
        _run(command, task=task, into=folder, report=report, size=size, cwd=folder)
        return next(folder.glob("*.deb"))


def _run(
    command: Sequence[str],
    *,
    task: str,
    into: Path | None,
    report: Reporter,
    size: int | None = None,
    cwd: Path | None = None,
) -> None:
    """Run a tool of apt, and kill it if it downloads to `into` too slowly. Errors name the `task`.

    apt's own time-outs do not suffice, because they start again with each byte.

    :param into: The folder to which everything is downloaded; None to allow any speed.
    :param size: The number of bytes that are downloaded; None if it is unknown.
    :raises ImageError: The tool failed, and the message says which file apt refused; or the mirror
        is too slow.
    """
    pace = DownloadSpeed()

    def watch() -> None:
        if into is None:
            return
        received = size_of(into)
        report.advance(received if size is None else min(received, size), size)
        if pace.is_too_slow(received):
            message = f"{task} failed: the mirror is {too_slow()}"
            raise ImageError(
                message, hint="name another mirror in apt's sources, or try again later"
            )

    try:
        run(command, what=task, cwd=cwd, temporary=into, watch=watch)
    except ImageError as error:
        if why := refusal(error.detail):
            raise ImageError(f"{task} failed: {why}", detail=error.detail) from error
        raise


def fetch(wanted: WantedPackage, arch: Arch, report: Reporter) -> Extracted:
    """Download a Debian package, unless the cache has it, and return the file wanted from it.

    The package is searched in the package lists of this host, then in the cache, and then in newly
    downloaded package lists.

    :raises ImageError: The package is not available: this is no Debian, or there is no network.
    """
    try:
        return _extract(_Apt(arch), wanted, arch, report)
    except ImageError as error:
        first = error
        stem = _stem(wanted)
        cached = stem.parent.glob(folder_of(wanted, arch, wanted.version or "*").name)
        for folder in sorted(cached, key=lambda folder: folder.stat().st_mtime, reverse=True):
            if found := _extracted(folder, wanted):
                return found
    lists = _stem(wanted).with_name(f"{wanted.package}-lists")
    with lock.held(lists, report), cache.scratch(lists) as work:
        report.step("fetching the package lists")
        apt = _Apt(arch, work)
        try:
            apt.update(report)
            return _extract(apt, wanted, arch, report)
        except ImageError as second:
            raise ImageError(
                f"{first.message}; {second.message}",
                hint=second.hint or first.hint,
                detail=second.detail or first.detail,
            ) from second


def folder_of(wanted: WantedPackage, arch: Arch, version: str) -> Path:
    """Return the path of the folder in the cache for a package's files. It need not exist."""
    stem = _stem(wanted)
    return stem.with_name(f"{stem.name}_{version.replace(':', '%3a')}_{arch.debian}")


def _stem(wanted: WantedPackage) -> Path:
    """Return the path from `folder_of` without its end, the package's version and architecture."""
    kept = hashlib.sha256(f"{wanted.member}\0{wanted.companions}".encode()).hexdigest()[:8]
    return cache.folder("downloads") / f"{wanted.package}-{kept}"


def _extract(apt: _Apt, wanted: WantedPackage, arch: Arch, report: Reporter) -> Extracted:
    package = apt.find(wanted)
    stem = _stem(wanted)
    folder = folder_of(wanted, arch, package.version)
    if found := _extracted(folder, wanted):
        return found
    with lock.held(stem, report), cache.scratch(stem) as work:
        if _extracted(folder, wanted) is None:
            report.step(f"downloading {package.name} {package.version}")
            work.mkdir()
            archive = apt.download(package, work, report)
            with lock.held(folder, report), cache.staging(folder) as temporary:
                _unpack(archive, wanted, temporary)
    if found := _extracted(folder, wanted):
        return found
    raise ImageError(f"package {package.name} contains no file {wanted.member}")


def _extracted(folder: Path, wanted: WantedPackage) -> Extracted | None:
    """Return the needed file of a package, if the cache has it and no other user can change it.

    Otherwise return None.
    """
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    if all(map(cache.has, files)):
        for path in files:
            if re.fullmatch(wanted.member, str(path.relative_to(folder))):
                contents.use(path)
                return Extracted(path, folder.name.split("_")[-2].replace("%3a", ":"))
    return None


def _unpack(archive: Path, wanted: WantedPackage, folder: Path) -> None:
    """Extract the needed files of a package into a folder, under their paths in the package."""
    patterns = re.compile("|".join(filter(None, (wanted.member, wanted.companions))))
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with started(command, temporary=archive.parent, **pipes) as unpacker:
        try:
            with tarfile.open(fileobj=unpacker.stdout, mode="r|") as members:
                for member in members:
                    name = member.name.removeprefix("./")
                    content = members.extractfile(member) if patterns.fullmatch(name) else None
                    # skip a file that is not needed, or is not a regular file
                    if content is None:
                        continue
                    path = folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("wb") as file:
                        shutil.copyfileobj(content, file)
                    if not wanted.companions:
                        break  # do not decompress the rest of the package
        except tarfile.TarError as error:
            raise ImageError(f"{archive.name}: damaged package: {error}") from error
