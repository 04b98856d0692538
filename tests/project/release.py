"""Checks of a release: its version, its changelog, and the files to publish.

python -m tests.project.release FOLDER [TAG]
"""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator
from email.parser import BytesParser
from email.policy import default
from pathlib import Path

from guest_pack.parts import digests
from microvm import guest_pack
from microvm._version import DISTRIBUTION, __version__
from microvm.arches import ARCHES, Arch
from microvm_image import programs

ROOT = Path(__file__).parents[2]
CHANGELOG = ROOT / "CHANGELOG.md"
UNRELEASED = "Unreleased"

#: The page that names the index of the wheels, and its text before the first release.
INSTALL = ROOT / "docs/install.md"
UNPUBLISHED = "is on no package index yet"

#: The distributions, and the maximum size of a wheel of each, in bytes.
LIMITS = {
    DISTRIBUTION: 1_500_000,
    **{guest_pack.distribution(arch): 12_000_000 for arch in ARCHES.values()},
}
DAEMON_LIMIT = 32 << 10
LICENSES = ("LICENSE", *(path.name for path in (ROOT / "image/guest_pack/licenses").iterdir()))
FIELDS = ["Name", "Version", "Summary", "License-Expression", "License-File", "Requires-Python"]
STRAY = re.compile(r"(^|/)(tests|\.ci|\.git\w*|__pycache__)/|\.(pyc|so|o)$")


def numbers(version: str) -> tuple[int, ...]:
    """Return a version as a tuple of numbers, which can be compared."""
    return tuple(map(int, version.split(".")))


def changelog(text: str, version: str, tag: str | None = None) -> Iterator[str]:
    """Return the errors in the version, the changelog, and the tag if there is one."""
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    unreleased = heads[:1] == [UNRELEASED]
    released = []
    for head in heads[unreleased:]:
        if found := re.fullmatch(r"(\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d", head):
            released.append(found[1])
        else:
            yield f"CHANGELOG.md: '## {head}' is not '## X.Y.Z - YYYY-MM-DD'"
    if sorted(set(released), key=numbers, reverse=True) != released:
        yield "CHANGELOG.md: the newest version is not the first, or one is there twice"
    if tag:
        if tag != f"v{version}":
            yield f"the tag is {tag}, and the version {version}: a tag is vX.Y.Z"
        if unreleased or released[:1] != [version]:
            yield f"CHANGELOG.md: the first section is not that of {version}, with its date"
    elif unreleased and released and numbers(version) <= numbers(released[0]):
        yield f"{version} was released, and something is unreleased: raise the version"
    elif not unreleased and released[:1] != [version]:
        yield f"CHANGELOG.md: there is neither a section '{UNRELEASED}' nor one of {version}"


def index(text: str, tag: str | None = None) -> Iterator[str]:
    """Return the errors in the page that names the index of the wheels."""
    if tag and UNPUBLISHED in text:
        yield f"docs/install.md: says that the distribution {UNPUBLISHED}, and {tag} is on one"


def files(folder: Path, version: str, tag: str | None = None) -> Iterator[str]:
    """Return the errors in a folder of files to publish.

    With a tag, all files must exist. Without a tag, the guest packs may be missing, because
    building them takes minutes.
    """
    wheels = {
        f"{name.replace('-', '_')}-{version}-py3-none-any.whl": (name, limit)
        for name, limit in LIMITS.items()
    }
    source = f"{DISTRIBUTION.replace('-', '_')}-{version}.tar.gz"
    needed = {source, *wheels} if tag else {source, next(iter(wheels))}
    found = {path.name for path in folder.iterdir()}
    yield from (f"{name} is missing" for name in sorted(needed - found))
    yield from (f"{name} is none of ours" for name in sorted(found - needed - wheels.keys()))
    for file in sorted(found & wheels.keys()):
        name, limit = wheels[file]
        for fault in wheel(folder / file, name, version, limit):
            yield f"{file}: {fault}"


def wheel(path: Path, name: str, version: str, limit: int) -> Iterator[str]:
    """Return the errors in a pure wheel with a maximum size in bytes."""
    if (size := path.stat().st_size) > limit:
        yield f"{size} bytes, and at most {limit} are wanted"
    with zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        info = next(one for one in members if one.endswith(".dist-info/METADATA"))
        folder = info.rpartition("/")[0]
        metadata = BytesParser(policy=default).parsebytes(archive.read(info))
        tags = archive.read(f"{folder}/WHEEL").decode()
    yield from (f"{one} does not belong there" for one in members if STRAY.search(one))
    yield from (f"its metadata have no {field}" for field in FIELDS if not metadata[field])
    if not metadata.get_content().strip():
        yield "its metadata have no description"
    if (metadata["Name"], metadata["Version"]) != (name, version):
        yield f"it says that it is {metadata['Name']} {metadata['Version']}"
    if "Root-Is-Purelib: true" not in tags:
        yield "it is not pure"
    for arch in ARCHES.values():
        if name == guest_pack.distribution(arch):
            yield from pack(path, arch, folder)


def pack(path: Path, arch: Arch, folder: str) -> Iterator[str]:
    """Return the errors in a guest pack: in its origins, and in the files that must be with it."""
    module = guest_pack.module(arch)
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        manifest = json.loads(archive.read(f"{module}/{guest_pack.MANIFEST}"))
    if manifest["schema"] != programs.schema():
        yield f"it speaks protocol {manifest['schema']}, not {programs.schema()}"
    for name, digest in digests(arch).items():
        if name not in manifest["parts"]:
            yield f"it has no {name}"
        elif manifest["parts"][name]["of"] != digest:
            yield f"its {name} is not made of what is here"
    for one in members:
        if one.filename.endswith("/sandboxd") and one.file_size > DAEMON_LIMIT:
            yield f"{one.filename} has {one.file_size} bytes: more than {DAEMON_LIMIT}"
    for needed in ("sboms/guest.cdx.json", *(f"licenses/licenses/{each}" for each in LICENSES)):
        if f"{folder}/{needed}" not in {one.filename for one in members}:
            yield f"{needed} is missing"


def main(folder: Path, tag: str | None = None) -> None:
    """Print all errors.

    :raises SystemExit: an error was found.
    """
    faults = [
        *changelog(CHANGELOG.read_text(), __version__, tag),
        *index(INSTALL.read_text(), tag),
        *files(folder, __version__, tag),
    ]
    if faults:
        raise SystemExit("\n".join(faults))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
