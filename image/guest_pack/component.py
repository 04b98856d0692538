"""The components of a pack: what it consists of, whose that is, and where its source is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from microvm._version import DISTRIBUTION, __version__


class Component(NamedTuple):
    """A component.

    :ivar license: the SPDX expression of its licence.
    :ivar purl: the package URL of what it is.
    :ivar source: where its source is, for people: with version, and digest or commit.
    :ivar website: where the project is; may be empty.
    :ivar sha256: the digest of the file in the pack that it is, in hex; empty where it is part of
        one.
    :ivar patches: what was changed in its source, as text.
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
    """Return the component that is a program of this project."""
    purl = f"pkg:pypi/{DISTRIBUTION}@{__version__}#{name}"
    source = f"the source distribution of {DISTRIBUTION} {__version__}"
    return Component(name, __version__, "MIT", purl, source, sha256=sha256)


def alpine(installed: str, release: str) -> Iterator[Component]:
    """Yield the packages of Alpine's that an archive has.

    :param installed: the text of its lib/apk/db/installed (apk-package(5)).
    :param release: Alpine's version.
    """
    for entry in installed.strip().split("\n\n"):
        fields = {line[0]: line[2:] for line in entry.splitlines() if line[1:2] == ":"}
        name, version, arch = fields["P"], fields["V"], fields["A"]
        yield Component(
            name,
            version,
            fields["L"],
            f"pkg:apk/alpine/{name}@{version}?arch={arch}&distro={release}",
            f"Alpine's aports, main/{fields['o']} at commit {fields['c']}",
            website=fields["U"],
        )
