"""The cache of the tests, which is a folder of the checkout, and not the cache of the user."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from microvm import cache
from microvm.cache import trust
from microvm.errors import CacheError

CHECKOUT = Path(__file__).parents[2] / "build/cache"

#: Folders of the user's cache that the tests copy, because their content comes from the network or
#: takes minutes to compile.
COPIED = ("downloads", "kernels")


def use() -> None:
    """Let this process and the programs that it starts use the cache of the tests.

    The first run copies kernels and downloads from the cache of the user. `$MICROVM_TEST_CACHE`
    names another folder. If other users can change the checkout, the cache of the tests is a folder
    beside the cache of the user.
    """
    ours = Path(os.environ.get("MICROVM_TEST_CACHE") or CHECKOUT).absolute()
    try:
        trust.check(ours)
    except trust.Untrusted:
        ours = cache.usual().with_name("microvm-tests")
    folders: list[Path] = []
    with suppress(CacheError):
        theirs = cache.root()
        folders = [theirs / name for name in COPIED if theirs != ours]
    os.environ["MICROVM_CACHE"] = str(ours)
    for folder in folders:
        if folder.is_dir():
            _copy(folder)


def _copy(source: Path) -> None:
    """Copy what our cache lacks of a folder of the user's cache."""
    target = cache.folder(source.name)
    for path in source.iterdir():
        if path.name.startswith(".") or (target / path.name).exists():
            continue  # files of an unfinished build, or an entry that exists already
        with cache.staging(target / path.name) as new:
            if path.is_dir():
                shutil.copytree(path, new, symlinks=True)
            else:
                shutil.copy2(path, new)
