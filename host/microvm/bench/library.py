"""The library microvm as a contender in the benchmark."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

from microvm.bench import STREAM_SIZE
from microvm.errors import MicroVMError
from microvm.machine.machine import MicroVM
from microvm.machine.snapshot import Snapshot
from microvm.option import ParsedOptions
from microvm.options import Confinement

if TYPE_CHECKING:
    from microvm.images import Image

# A single program, dd, writes in large blocks, so that the speed of the connection is measured, and
# not that of the program.
_WRITER = ("dd", "if=/dev/zero", "bs=64k", f"count={STREAM_SIZE >> 16}")
_READER = ("dd", "of=/dev/null", "bs=64k")
_BLOCK = bytes(1 << 16)
_PYTHON = ("python3", "-c", "pass")
_FILE = "/tmp/measured"  # noqa: S108 - in the guest


class Library:
    """One of the contenders that the benchmark compares: machines of the library microvm.

    :ivar options: Options of `PoolOptions` for the machines.
    """

    def __init__(self, image: Image, options: ParsedOptions, name: str = "microvm") -> None:
        self.image = image
        self.options = options
        self.name = name
        self._command = (
            *(sys.executable, "-P", "-m", "microvm", "run", "--image", str(image.path)),
            *("--memory", str(options["memory"]), "--accel", options["accel"]),
            *("--confinement", options["confinement"]),
            *("--", "true"),
        )

    async def boot(self) -> LibraryMachine:
        """Boot a machine, without cloning."""
        return await self._start(cold=True)

    async def clone(self) -> LibraryMachine:
        """Start a machine as a clone of a template, as `MicroVM.start` does by default."""
        return await self._start(cold=False)

    async def _start(self, *, cold: bool) -> LibraryMachine:
        vm = MicroVM._from_options(self.image, self.options.replace(cold=cold))
        await vm.start()
        return LibraryMachine(vm)

    async def run_process(self) -> None:
        """Run `microvm run -- true` in a process of its own, as a user of the command line does."""
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        _, output = await process.communicate()
        if process.returncode != 0:
            raise MicroVMError("`microvm run` failed", detail=output.decode(errors="replace"))


class LibraryMachine:
    """A running machine of the library.

    The methods raise a `MicroVMError` if an operation fails.
    """

    def __init__(self, vm: MicroVM) -> None:
        self.vm = vm

    @property
    def pid(self) -> int:
        """Process id of QEMU."""
        assert self.vm.pid is not None  # noqa: S101 - it runs
        return self.vm.pid

    async def ping(self) -> None:
        await self.vm.ping()

    async def run_true(self) -> None:
        await self._run(("true",), 0)

    async def run_python(self) -> None:
        """Run `python3 -c pass` in the guest."""
        await self._run(_PYTHON, 0)

    async def read_stream(self) -> None:
        """Read and discard `STREAM_SIZE` bytes that a process in the guest writes."""
        await self._run(_WRITER, STREAM_SIZE)

    async def write_stream(self) -> None:
        """Write `STREAM_SIZE` bytes that a process in the guest reads."""
        async with await self.vm.exec(_READER, stdin=PIPE) as process:
            assert process.stdin is not None  # noqa: S101 - PIPE
            for _ in range(STREAM_SIZE // len(_BLOCK)):
                process.stdin.write(_BLOCK)
                await process.stdin.drain()
            process.stdin.close()
            if await process.wait() != 0:
                raise MicroVMError(f"{' '.join(_READER)}: status {process.returncode}")

    async def put_file(self, file: Path) -> None:
        """Copy a file into the guest."""
        await self.vm.put(file, _FILE)

    async def get_file(self, file: Path) -> None:
        """Copy the file of `put_file` back to the host. In the guest, empty it to free memory."""
        await self.vm.get(_FILE, file)
        await self.vm.write_file(_FILE, b"")

    async def stop(self) -> None:
        await self.vm.stop()

    async def _run(self, command: tuple[str, ...], size: int) -> None:
        """Run a command in the guest, and check that it succeeds and writes `size` bytes.

        The bytes are discarded.
        """
        async with await self.vm.exec(command) as process:
            received = 0
            async for chunk in process.stdout:
                received += len(chunk)
            if (await process.wait(), received) != (0, size):
                name = " ".join(command)
                raise MicroVMError(f"{name}: status {process.returncode}, {received} bytes")


async def clone_of(snapshot: Snapshot, confinement: Confinement) -> LibraryMachine:
    """Start a machine from a snapshot, with the option `confinement` of `MicroVM`."""
    vm = MicroVM(snapshot, confinement=confinement)
    await vm.start()
    return LibraryMachine(vm)
