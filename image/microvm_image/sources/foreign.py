"""Debian for a processor whose programs this host cannot run.

On the host, mmdebstrap only downloads and unpacks the packages. The scripts of the packages are
programs of the other processor. So the first step of the image's build runs in a machine, and
installs the packages there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

from microvm_image.tree import RootfsTree

_ARCHIVES = "var/cache/apt/archives"
_ARCHIVE = re.compile(r"([a-z0-9][a-z0-9+.-]+)_([A-Za-z0-9.+:~%-]+)_[a-z0-9]+\.deb", re.ASCII)

OPTIONS = (
    *("--variant=extract", "--skip=cleanup/apt/cache"),
    # the packages of the variant `minbase`
    *("--include=?essential", "--include=?priority(required)", "--include=apt"),
)
"""Options of mmdebstrap to unpack the packages, and to keep their archives."""

HOOK = "extract-hook"
"""The option of mmdebstrap for commands that it runs at its end if it only unpacks packages."""

# The options --force-depends and --force-unsafe-io of dpkg allow it to unpack all packages in the
# order of their names before it configures any, and to write them without waiting for the disk. The
# package base-passwd creates /etc/passwd, and all other packages expect that this file exists.
_SCRIPT = f"""
cd /{_ARCHIVES}
install() {{ dpkg --force-depends --force-unsafe-io --install "$@"; }}
install base-passwd_*.deb base-files_*.deb && install *.deb && rm *.deb
"""

INSTALL = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C", "sh", "-ec", _SCRIPT)
"""The command that installs all packages in a machine."""


def versions(tree: RootfsTree) -> Iterator[str]:
    """Yield the packages that `INSTALL` will install, as `NAME=VERSION`."""
    folder = tree.folder(_ARCHIVES)
    for name in folder.children if folder else ():
        if match := _ARCHIVE.fullmatch(name):
            yield f"{match[1]}={unquote(match[2])}"
