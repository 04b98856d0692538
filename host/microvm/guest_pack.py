"""The guest pack: a distribution with the compiled parts that guests of one architecture need.

A part of the pack replaces the part that would be built here, if both are built from the same
sources, recipe and pinned archive. Otherwise the part is built here. A pack for another version of
the protocol is an error.

The host executes one part of the pack, so only a pack in a folder of installed packages is used:
the folder of this package, and those of this Python and of this user. Python itself would also look
in the working folder and in the folders of PYTHONPATH, which may be a stranger's.
"""

from __future__ import annotations

import json
import site
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from microvm._version import DISTRIBUTION, __version__
from microvm.arches import Arch
from microvm.errors import ImageError
from microvm.sha256 import sha256

MANIFEST = "pack.json"
"""The name of the file that says what a pack was made of."""

PROGRAMS, LAUNCHER, KERNEL, ROOTFS = "programs", "launcher", "kernel", "rootfs"
"""The parts, by the names of their folders: the guest's programs, QEMU's launcher, the small
kernel, and the archive of the root file system."""

_LIMIT = 1 << 14


class Part(NamedTuple):
    """A part of a pack.

    :ivar of: the digest of what it was made of.
    :ivar files: the SHA-256 of each file in its folder, in hex.
    """

    of: str
    files: Mapping[str, str]


class Manifest(NamedTuple):
    """What a pack is.

    :ivar version: the version of this project that made it.
    :ivar schema: the digest of the protocol that its daemon speaks, 16 hex digits.
    :ivar parts: its parts by their names.
    """

    version: str
    schema: str
    parts: Mapping[str, Part]


def distribution(arch: Arch) -> str:
    """Return the name of the distribution that is the pack of an architecture."""
    return f"{DISTRIBUTION}-guest-{arch.name.replace('_', '-')}"


def module(arch: Arch) -> str:
    """Return the name of the folder that it has beside the modules."""
    return f"microvm_guest_{arch.name}"


def manifest(arch: Arch) -> Path | None:
    """Return the path of the installed pack's manifest; None if no pack is installed."""
    paths = (folder / module(arch) / MANIFEST for folder in _folders())
    return next((path for path in paths if path.is_file()), None)


def _folders() -> Iterator[Path]:
    """Yield the folders in which packages are installed."""
    yield Path(__file__).absolute().parents[1]

    yield from map(Path, site.getsitepackages())
    if site.ENABLE_USER_SITE:
        yield Path(site.getusersitepackages())


def installed(arch: Arch) -> Manifest | None:
    """Return what the installed pack is; None if none is installed.

    :raises ImageError: it is damaged.
    """
    if (path := manifest(arch)) is None:
        return None

    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(_LIMIT))
        parts = {
            name: Part(str(of["of"]), dict(of["files"])) for name, of in fields["parts"].items()
        }
        return Manifest(str(fields["version"]), str(fields["schema"]), parts)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise _damaged(path, arch, error) from error


def part(arch: Arch, name: str, digest: str) -> Path | None:
    """Return the folder of a part; None if there is none that was made of that.

    :param digest: the digest of what it would be made of here.
    :raises ImageError: the pack is damaged.
    """
    path, found = manifest(arch), installed(arch)
    if path is None or found is None or name not in found.parts:
        return None
    return path.parent / name if found.parts[name].of == digest else None


def files(arch: Arch, name: str, digest: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return files of a part, by their names; empty if there is no part that was made of that.

    :raises ImageError: the pack is damaged.
    """
    folder, found = part(arch, name, digest), installed(arch)
    if folder is None or found is None:
        return {}
    read = {}
    for file in names:
        try:
            read[file] = (folder / file).read_bytes()
        except OSError as error:
            raise _damaged(folder / file, arch, error) from error
        if sha256(read[file]).hexdigest() != found.parts[name].files.get(file):
            raise _damaged(folder / file, arch, "it is another file than was packed")
    return read


def check(arch: Arch, schema: str) -> None:
    """Check that the pack, if there is one, speaks a protocol.

    :param schema: the protocol's digest, 16 hex digits.
    :raises ImageError: it speaks another, or is damaged.
    """
    found, name = installed(arch), distribution(arch)
    if found and found.schema != schema:
        raise ImageError(
            f"{name} {found.version} speaks protocol {found.schema}, microvm {__version__} speaks "
            f"{schema}",
            hint=f"pip install '{wanted(arch)}'; without it, after `pip uninstall {name}`, all is "
            "made from sources",
        )


def wanted(arch: Arch) -> str:
    """Return the requirement that is the pack of this version."""
    return f"{distribution(arch)}=={__version__}"


def absence(arch: Arch) -> str:
    """Return the reason why the pack cannot be used, as a clause for an error message."""
    if (found := installed(arch)) is None:
        return f"the guest pack {distribution(arch)} is not installed"
    return f"the guest pack of microvm {found.version} does not fit microvm {__version__}"


def how_to_install(arch: Arch) -> str:
    """Return the hint for installing the pack of this version."""
    return f"install the guest pack by `pip install '{wanted(arch)}'`"


def _damaged(path: Path, arch: Arch, why: Exception | str) -> ImageError:
    hint = f"pip install --force-reinstall '{wanted(arch)}'"
    return ImageError(f"{path}: the guest pack is damaged: {why}", hint=hint)
