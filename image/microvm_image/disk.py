"""The read-only disk of an image: an EROFS file system, written without root.

It is not compressed: the guest would have to decompress what it reads, slowly where it is emulated,
and its kernel would need the code for it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from microvm import cache
from microvm.errors import ImageError
from microvm.system.tools import finish, is_full, started
from microvm_image.tree import RootfsTree

TOOLS = {"mkfs.erofs": "erofs-utils"}
"""The program that writes disks, and the Debian package that contains it."""

_PROGRAM = "mkfs.erofs"


def write(tree: RootfsTree, out: Path, digest: str) -> None:
    """Write a tree as a file system; the same tree and digest always give the same bytes.

    :param out: the file to make; its folder has room for the tree twice, for a while.
    :param digest: what the file system's UUID is made of, in hex, as of the image's source.
    :raises ImageError: mkfs.erofs is not installed, or fails; the tree is of no use.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    command = [
        *(_PROGRAM, "--tar=f", "--quiet", "-d1", "-b4096", "-T0", "--mkfs-time"),
        *("-U", str(uuid.UUID(digest[:32])), str(out)),
    ]
    # The messages go to memory, because a full disk could not store them.
    with os.fdopen(os.memfd_create("log"), "w+b") as log:
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.DEVNULL,
            "stderr": log,
        }
        try:
            # mkfs.erofs writes a copy of the data to its temporary files.
            with started(command, temporary=out.parent, env=environment, **pipes) as maker:
                status = _feed(maker, tree)
        except FileNotFoundError:
            raise ImageError(
                f"an image of this size needs {_PROGRAM}, which is not installed",
                hint="apt install erofs-utils, version 1.7 or newer",
            ) from None
        if status:
            log.seek(max(0, log.tell() - 4096))
            said = log.read(4096).decode(errors="replace").strip()
            full = is_full(said) or _is_short(tree, out)
            raise ImageError(
                f"writing the disk failed{' (disk full)' * full}: {_PROGRAM} ended with status "
                f"{status}",
                hint=cache.HINT_FULL if full else "it must be of erofs-utils 1.7 or newer",
                detail="\n".join(said.splitlines()[-20:]),
            )


def _is_short(tree: RootfsTree, out: Path) -> bool:
    """Tell whether the folder has less free space than a disk needs; mkfs.erofs may not notice."""
    written = out.stat().st_blocks * cache.SECTOR if out.exists() else 0
    wanted = 2 * sum(node.size for _, node in tree.walk())
    return shutil.disk_usage(out.parent).free + written < wanted


def _feed(maker: subprocess.Popen[bytes], tree: RootfsTree) -> int:
    """Give the tree to a program and return the status that it ends with."""
    if maker.stdin:
        with suppress(BrokenPipeError), maker.stdin as pipe:  # of which the program says why
            tree.write_tar(pipe)
        maker.stdin = None
    finish(maker)
    return maker.returncode
