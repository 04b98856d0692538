"""Tests on a node of a cluster: an ordinary user, a read-only cache, a small /tmp, and no KVM.

Each test takes away one more feature or none, and the last one takes away all of them: locks, user
namespaces, Landlock and files in memory.
"""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.ordinary import as_user, enterable, only_root
from tests.vm.conftest import DEADLINE

from microvm import arches
from microvm import cache as caches
from microvm.cache import readers
from microvm.images import Image

pytestmark = [pytest.mark.thorough, only_root]

SOURCE = Path(__file__).parents[1] / "launcher/lacking.c"
KVM = "/dev/kvm"

CHECKOUT = Path(__file__).parents[2]
NODE = f"""
mount --bind "$CHECKOUT" "$SEEN"
mount -t tmpfs -o size=64k,mode=1777 tmpfs /tmp
[ -e "$CHECKOUT" ] || {{ mkdir -p "$CHECKOUT"; mount --bind "$SEEN" "$CHECKOUT"; }}
mount --bind "$MICROVM_CACHE" "$MICROVM_CACHE"
mount -o remount,bind,ro "$MICROVM_CACHE"
! test -e {KVM} || {{ mknod -m 000 /tmp/kvm c 10 232; mount --bind /tmp/kvm {KVM}; }}
exec "$@"
"""
"""A shell script that executes a command in a mount namespace like that of a node.

The checkout may lie below /tmp: its second place `$SEEN` keeps it reachable.
"""


class Lack(NamedTuple):
    """A system call that fails on the node with `error`.

    :ivar calls: the numbers of the system call on each architecture.
    :ivar layer: the layer of confinement that is absent then.
    :ivar clones: whether machines are cloned nevertheless.
    """

    calls: dict[str, int]
    error: int
    layer: str = ""
    clones: bool = True


LACKS = {
    "locks": Lack({"x86_64": 73, "aarch64": 32}, errno.ENOLCK),
    "namespaces": Lack({"x86_64": 272, "aarch64": 97}, errno.EPERM, layer="user"),
    "Landlock": Lack({"x86_64": 444, "aarch64": 444}, errno.ENOSYS, layer="landlock"),
    "memfd": Lack({"x86_64": 319, "aarch64": 279}, errno.ENOSYS, clones=False),
}


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder for files that the node's users need: not in /tmp, which is hidden on the node."""
    with enterable("/var/tmp") as made:
        yield made


@pytest.fixture(scope="module")
def lacking(folder: Path) -> Path:
    """A program that executes another one, for which a system call fails."""
    made = folder / "lacking"
    subprocess.run(["gcc", "-std=gnu11", "-o", made, SOURCE], check=True)
    return made


@pytest.fixture(scope="module")
def filled(folder: Path, image: Image) -> Iterator[Path]:
    """A cache of root with an image and its template, which all users may read."""
    cache = folder / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MICROVM_CACHE", str(cache))
        caches.make(cache)
        (cache / readers.MARK).touch()
        shutil.copytree(image.path, caches.folder("images") / image.name)
        subprocess.run(["chmod", "-R", "a+rX", cache], check=True)
        made = ["template", "make", image.name, "--memory", "96M", "--accel", "tcg"]
        subprocess.run([sys.executable, "-m", "microvm", *made], check=True)
        yield cache


@pytest.mark.parametrize("name", ["nothing", *LACKS, "everything"])
def test_machines_start_and_say_what_is_missing(
    filled: Path, image: Image, lacking: Path, folder: Path, name: str
) -> None:
    lacks = LACKS.values() if name == "everything" else [LACKS[name]] if name in LACKS else []
    words = [sys.executable, "-m", "microvm"]
    for lack in lacks:
        number = str(lack.calls[arches.native()])
        words = [str(lacking), str(lack.error), number, "--", *words]
    mounted = ["unshare", "--mount", "/bin/sh", "-ec", NODE, "sh"]
    seen = folder / "checkout"
    seen.mkdir(exist_ok=True)
    variables = {
        "MICROVM_CACHE": str(filled),
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "CHECKOUT": str(CHECKOUT),
        "SEEN": str(seen),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*mounted, *as_user(*words, *arguments)],
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )

    options = ["--image", image.name, "--memory", "96M", "-v"]
    done = run("run", *options, "--", "echo", "hello")
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    clones = all(lack.clones for lack in lacks)
    assert ("cloned under TCG" in done.stderr) == clones, done.stderr
    assert clones or "memfd_create" in done.stderr
    # The cache is read-only, so each start says that KVM is forbidden.
    if Path(KVM).exists() and image.manifest.arch == arches.native():
        again = run("run", *options, "--", "true")
        notice = "you have no permission to use KVM"
        assert notice in done.stderr
        assert notice in again.stderr
    found = run("confinement", "--json")
    layers = json.loads(found.stdout)["layers"]
    absent = {each["layer"]: each for each in layers if not each["holds"]}
    for layer in filter(None, (lack.layer for lack in lacks)):
        assert layer in absent
        assert absent[layer]["text"]


def test_the_pool_of_another_user_is_not_used(filled: Path, image: Image, folder: Path) -> None:
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    words = [sys.executable, "-m", "microvm"]
    options = ["--image", image.name, "--memory", "96M", "--accel", "tcg"]
    variables = {
        "MICROVM_CACHE": str(filled),
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "XDG_RUNTIME_DIR": str(runtime),
    }
    start = [*words, "pool", "start", "--linger", "--size", "1", *options, "theirs"]
    subprocess.run(start, env=variables, cwd="/", check=True, timeout=DEADLINE)
    try:
        run = [*words, "run", "-v", "--pool", "theirs", *options, "--", "echo", "hello"]
        done = subprocess.run(
            as_user(*run),
            env=variables,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.stdout == "hello\n", done.stderr
        assert "pool theirs is not used" in done.stderr
    finally:
        subprocess.run([*words, "pool", "stop", "theirs"], env=variables, cwd="/", check=True)
