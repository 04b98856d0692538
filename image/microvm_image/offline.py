"""Writes configuration files to an image that tell programs in a guest that there is no network.

Without these files, the resolver of musl waits five seconds for a name server that does not exist,
and apt, pip and npm repeat a failed download for up to half a minute.
"""

from __future__ import annotations

import posixpath
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from microvm.errors import ImageError

if TYPE_CHECKING:
    from microvm_image.tree import RootfsTree


class OfflineFile(NamedTuple):
    """A configuration file for a program in a guest without a network.

    :ivar program: A path in the image. The file is written only if this path exists.
    """

    program: str
    path: str
    text: str


# With a time-out of 0, the resolver of musl fails at once. The resolver of glibc fails at once
# anyway, because the kernel reports that no name server listens in the guest.
_RESOLVER = "options timeout:0\n"

_APT = 'Acquire::Retries "0";\n'

# With `retries = 0`, pip would not print why it cannot reach its index. One retry costs no time,
# because pip waits only before the second. PEP 668 protects the packages of a distribution from
# pip; a guest needs no such protection, because it is deleted after use.
_PIP = """\
[global]
retries = 1
break-system-packages = true
root-user-action = ignore
disable-pip-version-check = true
"""

_NPM = "fetch-retries=0\nupdate-notifier=false\n"

FILES = (
    OfflineFile("etc", "etc/resolv.conf", _RESOLVER),
    OfflineFile("etc/apt/apt.conf.d", "etc/apt/apt.conf.d/90microvm", _APT),
    OfflineFile("usr/bin/pip", "etc/pip.conf", _PIP),
    OfflineFile("usr/local/bin/pip", "etc/pip.conf", _PIP),
    OfflineFile("usr/bin/npm", "etc/npmrc", _NPM),
    OfflineFile("usr/local/bin/npm", "usr/local/etc/npmrc", _NPM),
)
"""The files that `settle` writes. The path of a program's file depends on the program's prefix."""


def settle(tree: RootfsTree) -> None:
    """Write the files to an image whose programs read them. Files that are not empty are kept.

    :raises ImageError: The tree exceeds its limits.
    """
    # These modules take time to import. Import them only here, because a start of a machine uses
    # only `FILES` of this module.
    from microvm_image.node import BytesData, FileNode

    for program, path, text in FILES:
        is_wanted = _is_there(tree, program) and _is_folder(tree, posixpath.dirname(path))
        if is_wanted and _is_empty(tree, path):
            tree.put(path, FileNode(stat.S_IFREG | 0o644, data=BytesData(text.encode())))


def _is_there(tree: RootfsTree, path: str) -> bool:
    with suppress(ImageError):
        return tree.file(path) is not None or tree.folder(path) is not None
    return False


def _is_folder(tree: RootfsTree, path: str) -> bool:
    with suppress(ImageError):
        return tree.folder(path) is not None
    return False


def _is_empty(tree: RootfsTree, path: str) -> bool:
    """Return True if a path names an empty file, or nothing, such as a link to a missing file."""
    with suppress(ImageError):
        data = tree.file(path)
        return not (data.size if data else _is_folder(tree, path))
    return False
