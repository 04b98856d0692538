"""The guest pack: an installed distribution with the compiled files of guests of one architecture.

It has several components: the programs of the guest, the launcher, the kernel and the archive of
the root file system. A component is used if it was built from the same sources as this version of
microvm would use. Otherwise the component is built on this host. A pack for another version of the
protocol is an error.

The host executes the launcher from the pack. So a pack is searched only in folders of installed
packages: the folder of microvm itself, and those of this Python and of this user. The working
directory and PYTHONPATH are not searched, because other people may control them.
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
"""Name of the file in a guest pack that describes its content."""

PROGRAMS, LAUNCHER, KERNEL, ROOTFS = "programs", "launcher", "kernel", "rootfs"
"""Names of the components of a guest pack, and also of their folders in it."""

_LIMIT = 1 << 14


class PackPart(NamedTuple):
    """A component of a guest pack, such as the kernel: digests of its sources and of its files.

    :ivar files: SHA-256 of each file of the component, in hexadecimal, by the file's name.
    """

    source: str
    files: Mapping[str, str]


class PackManifest(NamedTuple):
    """The manifest of a guest pack: its version, its protocol and the digests of its components.

    :ivar schema: Digest of the protocol that the pack's daemon speaks, as 16 hexadecimal digits.
    """

    version: str
    schema: str
    parts: Mapping[str, PackPart]


def distribution(arch: Arch) -> str:
    """Return the name by which pip installs the guest pack of an architecture."""
    return f"{DISTRIBUTION}-guest-{arch.name.replace('_', '-')}"


def module(arch: Arch) -> str:
    """Return the name of the folder that the guest pack of an architecture installs."""
    return f"microvm_guest_{arch.name}"


def manifest(arch: Arch) -> Path | None:
    """Return the path of the manifest of the installed guest pack; None without such a pack."""
    paths = (folder / module(arch) / MANIFEST for folder in _folders())
    return next((path for path in paths if path.is_file()), None)


def _folders() -> Iterator[Path]:
    """Yield the folders of installed Python packages in which a guest pack may be."""
    yield Path(__file__).absolute().parents[1]

    yield from map(Path, site.getsitepackages())
    if site.ENABLE_USER_SITE:
        yield Path(site.getusersitepackages())


def installed(arch: Arch) -> PackManifest | None:
    """Return the manifest of the installed guest pack, or None if no pack is installed."""
    if (path := manifest(arch)) is None:
        return None
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(_LIMIT))
        parts = {
            name: PackPart(str(of["of"]), dict(of["files"])) for name, of in fields["parts"].items()
        }
        return PackManifest(str(fields["version"]), str(fields["schema"]), parts)
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise _damaged(path, arch, error) from error


def part(arch: Arch, name: str, digest: str) -> Path | None:
    """Return the folder of a guest pack's component `name` if its sources have `digest`, else None.

    The result is also None if no pack is installed.

    :raises ImageError: If the pack is damaged.
    """
    path, found = manifest(arch), installed(arch)
    if path is None or found is None or name not in found.parts:
        return None
    return path.parent / name if found.parts[name].source == digest else None


def files(arch: Arch, name: str, digest: str, names: Iterable[str]) -> dict[str, bytes]:
    """Read the files `names` of a guest pack's component `name` if its sources have `digest`.

    The result contains the content of each file by its name. If no pack is installed, or if
    `digest` is not the digest of the sources of its component, the result is empty.

    :raises ImageError: If the pack is damaged.
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
            raise _damaged(folder / file, arch, "its content is not the packed one")
    return read


def check(arch: Arch, schema: str) -> None:
    """Raise ImageError if an installed guest pack's protocol has a digest other than `schema`."""
    found, name = installed(arch), distribution(arch)
    if found and found.schema != schema:
        raise ImageError(
            f"{name} {found.version} speaks protocol {found.schema}, microvm {__version__} speaks "
            f"{schema}",
            hint=f"pip install '{wanted(arch)}'; or run `pip uninstall {name}` to "
            "build everything from source",
        )


def wanted(arch: Arch) -> str:
    """Return the argument of `pip install` for the guest pack of this version of microvm."""
    return f"{distribution(arch)}=={__version__}"


def absence(arch: Arch) -> str:
    """Return why no guest pack can be used for `arch`, as a clause for an error message."""
    if (found := installed(arch)) is None:
        return f"the guest pack {distribution(arch)} is not installed"
    return f"the guest pack of microvm {found.version} does not fit microvm {__version__}"


def how_to_install(arch: Arch) -> str:
    """Return the hint that says how to install the guest pack of this version of microvm."""
    return f"install the guest pack by `pip install '{wanted(arch)}'`"


def _damaged(path: Path, arch: Arch, why: Exception | str) -> ImageError:
    hint = f"pip install --force-reinstall '{wanted(arch)}'"
    return ImageError(f"{path}: the guest pack is damaged: {why}", hint=hint)
