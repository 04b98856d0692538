"""The wheels of Python packages that are installed in an image."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from microvm.errors import ImageError
from microvm.printable import quoted
from microvm_image.layer import HostData, stamp
from microvm_image.node import BytesData, FileNode
from microvm_image.tree import RootfsTree

_FOLDER = "microvm-wheels"
"""The folder of the guest with the wheels. The program that installs them removes the folder."""
_INSTALLER = Path(__file__).with_name("install.py")
_NAME = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9.!+_]+)(?:-\d\w*)?(?:-[\w.]+){3}\.whl", re.ASCII)

COMMAND = ("python3", f"/{_FOLDER}/{_INSTALLER.name}")
"""The command that installs the wheels in a guest."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel: the file of a Python package that can be installed without building it."""

    name: str
    version: str
    sha256: str
    data: HostData

    @classmethod
    def of(cls, path: Path) -> Wheel:
        """Read the name and the digest of the wheel at a path.

        :raises ImageError: It is not a regular file with the name of a wheel.
        """
        status = path.lstat()
        match = _NAME.fullmatch(path.name)
        if match is None or not stat.S_ISREG(status.st_mode):
            raise ImageError(f"pip has downloaded {quoted(path.name)}, which is not a wheel")
        data, digest = HostData(path, stamp(status)), hashlib.sha256()
        for chunk in data.chunks():
            digest.update(chunk)
        return cls(match[1].replace("_", "-"), match[2], digest.hexdigest(), data)


@dataclass(frozen=True, slots=True)
class Wheels:
    """The wheels of all packages for an image.

    :ivar packages: The wheels to install, sorted by their file names.
    :ivar pip: The wheels of the pip that installs them; empty if the image contains pip.
    """

    packages: tuple[Wheel, ...]
    pip: tuple[Wheel, ...]

    def digest(self) -> str:
        """Return the SHA-256 of the wheels and of the program that installs them, in hex."""
        digest = hashlib.sha256(_INSTALLER.read_bytes())
        for folder in (self.packages, self.pip):
            digest.update(repr([(each.data.path.name, each.sha256) for each in folder]).encode())
        return digest.hexdigest()

    def add_to(self, tree: RootfsTree) -> None:
        """Add the wheels, and the program that installs them, to the tree of an image.

        :raises ImageError: The tree exceeds its limits.
        """
        mode = stat.S_IFREG | 0o644
        installer = BytesData(_INSTALLER.read_bytes())
        tree.put(f"{_FOLDER}/{_INSTALLER.name}", FileNode(mode, data=installer))
        for folder, wheels in (("packages", self.packages), ("pip", self.pip)):
            for each in wheels:
                path = f"{_FOLDER}/{folder}/{each.data.path.name}"
                tree.put(path, FileNode(mode, data=each.data))

    def history(self) -> Iterator[str]:
        """Yield a line for each package. Without the word `pip`, the lines are a list for `-r`."""
        for each in self.packages:
            yield f"pip {each.name}=={each.version} --hash=sha256:{each.sha256}"
