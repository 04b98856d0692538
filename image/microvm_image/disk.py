"""The read-only disk of an image: an EROFS file system. Writing it needs no root permissions.

The file system is not compressed, because decompression in an emulated guest is slow, and because
the guest's kernel would have to contain the code for it.
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
from microvm.system import platform
from microvm.system.tools import finish, is_full, started
from microvm_image.tree import RootfsTree

TOOLS = {"mkfs.erofs": "erofs-utils"}
"""The program that writes disks, and the Debian package that contains it."""

_PROGRAM = "mkfs.erofs"


def write(tree: RootfsTree, out: Path, digest: str) -> None:
    """Write a root file system to the new file `out`: the image's disk.

    The same tree and digest always give the same bytes.

    :param out: The path of the disk. Its folder temporarily needs space for twice the tree's size.
    :param digest: The digest from which the UUID of the file system is derived, in hex.
    :raises ImageError: mkfs.erofs is not installed, or fails. The tree cannot be used afterwards.
    """
    environment = {**os.environ, "LC_ALL": "C"}
    command = [
        *(_PROGRAM, "--tar=f", "--quiet", "-d1", "-b4096", "-T0", "--mkfs-time"),
        *("-U", str(uuid.UUID(digest[:32])), str(out)),
    ]
    # Store the messages of mkfs.erofs in memory, because the disk may be full.
    with os.fdopen(platform.memory_file("log"), "w+b") as log:
        pipes: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.DEVNULL,
            "stderr": log,
        }
        try:
            # mkfs.erofs writes a copy of the data to temporary files. Put them beside `out`, where
            # enough space is expected.
            with started(command, temporary=out.parent, env=environment, **pipes) as maker:
                status = _feed(maker, tree)
        except FileNotFoundError:
            raise ImageError(
                f"an image of this size needs {_PROGRAM}, which is not installed",
                hint="apt install erofs-utils, version 1.7 or newer",
            ) from None
        if status:
            log.seek(max(0, log.tell() - 4096))
            output = log.read(4096).decode(errors="replace").strip()
            full = is_full(output) or _is_short(tree, out)
            raise ImageError(
                f"writing the disk failed{' (disk full)' * full}: {_PROGRAM} ended with status "
                f"{status}",
                hint=cache.HINT_FULL if full else "install erofs-utils 1.7 or newer",
                detail="\n".join(output.splitlines()[-20:]),
            )


def _is_short(tree: RootfsTree, out: Path) -> bool:
    """Return True if the host's disk lacks space for the tree. mkfs.erofs may not report that."""
    written = out.stat().st_blocks * cache.SECTOR if out.exists() else 0
    wanted = 2 * sum(node.size for _, node in tree.walk())
    return shutil.disk_usage(out.parent).free + written < wanted


def _feed(maker: subprocess.Popen[bytes], tree: RootfsTree) -> int:
    """Write the tree to the input of mkfs.erofs, and return its exit status."""
    if maker.stdin:
        # if mkfs.erofs has exited early, its exit status tells why
        with suppress(BrokenPipeError), maker.stdin as pipe:
            tree.write_tar(pipe.write)
        maker.stdin = None
    finish(maker)
    return maker.returncode
