"""Installs packages in a machine from an index on this host: `install.py WHEELS PACKAGE...`.

WHEELS is a folder of wheels. `pip download --dest WHEELS PACKAGE` creates such a folder.
"""

from __future__ import annotations

import asyncio
import re
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from microvm import MicroVM

PORT = 8001
SETTINGS = {
    "PIP_INDEX_URL": f"http://127.0.0.1:{PORT}/",
    "PIP_BREAK_SYSTEM_PACKAGES": "1",  # the machine is deleted afterwards
    "PIP_ROOT_USER_ACTION": "ignore",
}


def lay_out(wheels: Path, index: Path) -> None:
    """Create the files of an index: a folder for each project, with links to its wheels."""
    for wheel in wheels.glob("*.whl"):
        project = index / re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
        project.mkdir(exist_ok=True)
        (project / wheel.name).symlink_to(wheel.absolute())


async def install(packages: list[str], address: tuple[str, int]) -> int:
    """Install packages in a new machine, from the index that this host serves at `address`."""
    # Two commands: pip is one, and all connections together count as the other one.
    async with MicroVM("python", commands=2) as vm, await vm.reverse(PORT, address):
        pip = ["pip", "install", *packages]
        return (await vm.run(pip, env=SETTINGS, capture_output=False)).returncode


def main(wheels: str, *packages: str) -> int:
    """Serve an index while pip installs the packages, and return the exit status of pip."""
    with TemporaryDirectory() as index:
        lay_out(Path(wheels), Path(index))
        handler = partial(SimpleHTTPRequestHandler, directory=index)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            Thread(target=server.serve_forever).start()
            try:
                return asyncio.run(install([*packages], ("127.0.0.1", server.server_port)))
            finally:
                server.shutdown()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
