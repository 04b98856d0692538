"""A Linux distribution: its root file system, and what runs in that, on this host's kernel."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microvm import arches

HERE = Path(__file__).parent
PACKAGES = ("python3", "python3-venv", arches.find().qemu_package)
USER = "newcomer"

#: In namespaces of its own, without a network: makes a folder the root, and has nothing of the host
#: in it but devices, the wheels and what is run.
ENTER = """
set -e
root=$1 wheels=$2 what=$3
shift 3
mount --bind "$root" "$root"
cd "$root"
mkdir -p wheels what host
mount --bind -o ro "$wheels" wheels
mount --bind -o ro "$what" what
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
pivot_root . host
umount -l /host
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
"""


@dataclass(frozen=True, slots=True)
class System:
    """A release of a distribution.

    :ivar suite: its name for mmdebstrap, which knows where it is to be had.
    :ivar components: the parts of it that are wanted.
    :ivar python: the version of its Python.
    """

    name: str
    suite: str
    python: str
    components: str = "main"

    def make(self, root: Path) -> None:
        """Install the least of the release into a folder, and Python and QEMU."""
        user = f'chroot "$1" useradd --create-home {USER}'
        options = ("--variant=minbase", f"--components={self.components}")
        more = (f"--include={','.join(PACKAGES)}", f"--customize-hook={user}")
        command = ["mmdebstrap", "--quiet", *options, *more, self.suite, str(root)]
        subprocess.run(command, check=True)

    def download(self, built: Path, wheels: Path) -> None:
        """Put the built wheels into a folder, and all that they take on this release's Python."""
        wheels.mkdir()
        for wheel in built.glob("*.whl"):
            (wheels / wheel.name).write_bytes(wheel.read_bytes())
        (main,) = wheels.glob("microvm_proto-*.whl")
        machine = platform.machine()
        tags = (f"--platform=manylinux{tag}_{machine}" for tag in ("_2_28", "_2_17", "2014"))
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet")
        where = (f"--dest={wheels}", f"--find-links={wheels}", "--only-binary=:all:")
        pins = f"--constraint={HERE.parents[1] / 'constraints.txt'}"
        target = f"--python-version={self.python}"
        subprocess.run([*pip, *where, pins, target, *tags, f"{main}[vm,guest]"], check=True)

    def visit(self, root: Path, wheels: Path, *, user: bool) -> dict[str, Any]:
        """Have somebody new do what they do, as root or as a user, and return what they found.

        :raises subprocess.CalledProcessError: something of it failed.
        """
        spaces = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
        enter = ["unshare", *spaces, "sh", "-c", ENTER, "sh", root, wheels, HERE]
        who = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups") if user else ()
        command = [*enter, *who, "python3", "/what/newcomer.py", "/wheels"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return {"system": self.name, "as": "a user" if user else "root", **found}


SYSTEMS = (
    System("Debian 12", "bookworm", "3.11"),
    System("Debian 13", "trixie", "3.13"),
    System("Ubuntu 24.04", "noble", "3.12", "main,universe"),
)
