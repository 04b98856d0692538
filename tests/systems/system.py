"""A Linux distribution: its root file system, in which programs run on the kernel of this host."""

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

#: Script that runs a command in new namespaces without a network. A folder becomes the
#: root. It contains only the devices of the host, the wheels and the program.
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


def download(built: Path, wheels: Path, *, python: str, machine: str) -> None:
    """Copy the built wheels and their dependencies for another system into a folder.

    :param python: version of the system's Python.
    :param machine: architecture of the system.
    """
    wheels.mkdir()
    (main,) = built.glob("microvm_proto-*.whl")
    # pip on this host would select the guest pack of this host's processor.
    (pack,) = built.glob(f"microvm_proto_guest_{machine}-*.whl")
    for wheel in (main, pack):
        (wheels / wheel.name).write_bytes(wheel.read_bytes())
    tags = (f"--platform=manylinux{tag}_{machine}" for tag in ("_2_28", "_2_17", "2014"))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet")
    where = (f"--dest={wheels}", f"--find-links={wheels}", "--only-binary=:all:")
    pins = f"--constraint={HERE.parents[1] / 'constraints.txt'}"
    wanted = f"{wheels / main.name}[vm]"
    command = [*pip, *where, pins, f"--python-version={python}", *tags, wanted]
    subprocess.run(command, check=True)


@dataclass(frozen=True, slots=True)
class System:
    """A release of a distribution.

    :ivar suite: name that mmdebstrap knows.
    :ivar components: required components of the archive.
    :ivar python: version of its Python.
    """

    name: str
    suite: str
    python: str
    components: str = "main"

    @property
    def folder(self) -> str:
        """The name of the folder of its root file system on this host."""
        return self.suite

    def make(self, root: Path) -> None:
        """Install the minimal release with Python and QEMU into a folder."""
        user = f'chroot "$1" useradd --create-home {USER}'
        options = ("--variant=minbase", f"--components={self.components}")
        more = (f"--include={','.join(PACKAGES)}", f"--customize-hook={user}")
        command = ["mmdebstrap", "--quiet", *options, *more, self.suite, str(root)]
        subprocess.run(command, check=True)

    def download(self, built: Path, wheels: Path) -> None:
        """Copy the built wheels and their dependencies for this release's Python into a folder."""
        download(built, wheels, python=self.python, machine=platform.machine())

    def visit(self, root: Path, wheels: Path, *, user: bool) -> dict[str, Any]:
        """Run the steps of a new user, as root or as an unprivileged user, and return the results.

        :raises subprocess.CalledProcessError: a step failed.
        """
        spaces = ("--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child")
        enter = ["unshare", *spaces, "sh", "-c", ENTER, "sh", root, wheels, HERE]
        who = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups") if user else ()
        command = [*enter, *who, "python3", "/what/newcomer.py", "/wheels"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return {"system": self.name, "as": "a user" if user else "root", **found}
