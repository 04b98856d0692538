"""The software components in a guest pack, with their licences and the origin of their sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from microvm._version import DISTRIBUTION, __version__


class Component(NamedTuple):
    """A software component in a guest pack, such as musl, for the bill of materials.

    :ivar license: The SPDX expression of its licence.
    :ivar purl: Its package URL (purl), an identifier for packages of any system.
    :ivar source: A description of its source, with version and digest or commit.
    :ivar website: The address of its project; may be empty.
    :ivar sha256: The SHA-256 of its file in the pack, in hex; empty if the component is only a part
        of a file.
    :ivar patches: The changes to its source, as text.
    """

    name: str
    version: str
    license: str
    purl: str
    source: str
    website: str = ""
    sha256: str = ""
    patches: tuple[str, ...] = ()


def ours(name: str, sha256: str) -> Component:
    """Return the component that describes a program of microvm."""
    purl = f"pkg:pypi/{DISTRIBUTION}@{__version__}#{name}"
    source = f"the source distribution of {DISTRIBUTION} {__version__}"
    return Component(name, __version__, "MIT", purl, source, sha256=sha256)


def alpine(installed: str, release: str) -> Iterator[Component]:
    """Yield the components for the Alpine packages in the archive of the root file system.

    :param installed: The text of the archive's lib/apk/db/installed (apk-package(5)).
    """
    for entry in installed.strip().split("\n\n"):
        fields = {line[0]: line[2:] for line in entry.splitlines() if line[1:2] == ":"}
        name, version, arch = fields["P"], fields["V"], fields["A"]
        yield Component(
            name,
            version,
            fields["L"],
            f"pkg:apk/alpine/{name}@{version}?arch={arch}&distro={release}",
            f"the aports of Alpine, main/{fields['o']} at commit {fields['c']}",
            website=fields["U"],
        )
