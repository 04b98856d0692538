"""Runs a Jupyter kernel in a machine: `machine_kernel.py CONNECTION_FILE`.

Jupyter has chosen the ports in the connection file, and connects to these ports of this host. The
kernel listens on ports of the same numbers, on the machine's loopback interface.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from microvm import MicroVM

KERNEL = ["python3", "-m", "ipykernel_launcher", "-f", "/run/connection.json"]


async def main(connection: str) -> int:
    """Run a kernel until Jupyter shuts it down, and return its exit status.

    :param connection: Contents of the connection file.
    """
    ports = [value for name, value in json.loads(connection).items() if name.endswith("_port")]
    # Two commands: the kernel is one, and all connections together count as the other one.
    async with MicroVM("jupyter", memory="512M", commands=2) as vm, AsyncExitStack() as stack:
        await vm.write_file("/run/connection.json", connection)
        for port in ports:
            await stack.enter_async_context(await vm.forward(port, port))
        kernel = await vm.run(KERNEL, capture_output=False)
    return kernel.returncode


if __name__ == "__main__":
    sys.exit(asyncio.run(main(Path(sys.argv[1]).read_text())))
