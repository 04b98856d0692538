"""The initramfs, the first file system of a guest.

It contains a root file system, the guest's programs of microvm, and modules of the kernel.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from typing import BinaryIO

from microvm import cpio
from microvm.cpio import CpioEntry
from microvm.errors import ImageError

FOLDERS = {
    ".": 0o755,  # without this entry, every user of the guest could write to its root folder
    "dev": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
}


def write(
    base: Iterable[CpioEntry],
    programs: Mapping[str, bytes],
    modules: Mapping[str, bytes],
    out: BinaryIO,
) -> None:
    """Write an initramfs: the files of a root file system, microvm's programs and kernel modules.

    It is not compressed, because the guest would need time to decompress it.

    :param base: The files of a root file system; if a name occurs twice, the later file counts.
    :param programs: The guest's programs of microvm, by their names. `init` is the first process.
    :param modules: The modules of the kernel, by their paths below `lib/modules`; see
        `selection.MODULES`.
    :raises ImageError: A member is inside something that is not a folder.
    """
    tree = {name: CpioEntry.folder(name, mode) for name, mode in FOLDERS.items()}
    tree |= {entry.name: entry for entry in base}
    tree |= {name: CpioEntry.file(name, program, 0o755) for name, program in programs.items()}
    for name, module in modules.items():
        path = f"lib/modules/{name}"
        tree[path] = CpioEntry.file(path, module)
    for name in list(tree):
        _add_parents(tree, name)
    cpio.write(tree.values(), out)


def _add_parents(tree: dict[str, CpioEntry], name: str) -> None:
    parts = name.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        parent = "/".join(parts[:end])
        entry = tree.setdefault(parent, CpioEntry.folder(parent))
        if not stat.S_ISDIR(entry.mode):
            raise ImageError(f"damaged archive: {name!r} lies in {parent!r}, which is no folder")
