"""The guest pack: an installed distribution with the compiled files of guests of one architecture.

It has several components: the programs of the guest, the launcher, the kernel and the archive of
the root file system. A component is used if it was built from the same sources as this version has.
Otherwise it is built here. A pack for another version of the protocol is an error.

The host executes a file of the pack, so a pack is used only from folders of installed packages: the
folder of this package, and those of this Python and of this user. Python would also search the
working directory and PYTHONPATH, which other people may control.
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
"""Name of the file that describes the content of a pack."""

PROGRAMS, LAUNCHER, KERNEL, ROOTFS = "programs", "launcher", "kernel", "rootfs"
"""Names of the components, which are the names of their folders."""

_LIMIT = 1 << 14


class PackPart(NamedTuple):
    """A component of a pack.

    :ivar source: Digest of the sources from which it was built.
    :ivar files: SHA-256 of each file in its folder, in hexadecimal.
    """

    source: str
    files: Mapping[str, str]


class PackManifest(NamedTuple):
    """The content of a pack.

    :ivar version: Version of this project that built it.
    :ivar schema: Digest of the protocol that its daemon speaks, as 16 hexadecimal digits.
    :ivar parts: Components by name.
    """

    version: str
    schema: str
    parts: Mapping[str, PackPart]


def distribution(arch: Arch) -> str:
    """Return the name of the distribution that is the pack of an architecture."""
    return f"{DISTRIBUTION}-guest-{arch.name.replace('_', '-')}"


def module(arch: Arch) -> str:
    """Return the name of the installed folder of the pack."""
    return f"microvm_guest_{arch.name}"


def manifest(arch: Arch) -> Path | None:
    """Return the path of the installed pack's manifest, or None if no pack is installed."""
    paths = (folder / module(arch) / MANIFEST for folder in _folders())
    return next((path for path in paths if path.is_file()), None)


def _folders() -> Iterator[Path]:
    """Yield the folders in which packages are installed."""
    yield Path(__file__).absolute().parents[1]

    yield from map(Path, site.getsitepackages())
    if site.ENABLE_USER_SITE:
        yield Path(site.getusersitepackages())


def installed(arch: Arch) -> PackManifest | None:
    """Return the manifest of the installed pack, or None if no pack is installed.

    :raises ImageError: If the pack is damaged.
    """
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
    """Return the folder of a component, or None if the pack has none built from these sources.

    :param digest: Digest of the sources of this version.
    :raises ImageError: If the pack is damaged.
    """
    path, found = manifest(arch), installed(arch)
    if path is None or found is None or name not in found.parts:
        return None
    return path.parent / name if found.parts[name].source == digest else None


def files(arch: Arch, name: str, digest: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return files of a component by name. If it was built from other sources, the result is empty.

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
    """Check that the pack, if one is installed, speaks a protocol.

    :param schema: Digest of the protocol, as 16 hexadecimal digits.
    :raises ImageError: If the pack speaks another protocol or is damaged.
    """
    found, name = installed(arch), distribution(arch)
    if found and found.schema != schema:
        raise ImageError(
            f"{name} {found.version} speaks protocol {found.schema}, microvm {__version__} speaks "
            f"{schema}",
            hint=f"pip install '{wanted(arch)}'; or run `pip uninstall {name}` to "
            "build everything from source",
        )


def wanted(arch: Arch) -> str:
    """Return the requirement that installs the pack of this version."""
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
