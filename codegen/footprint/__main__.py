"""Measure flash and RAM of the generated C code and of nanopb on a Cortex-M0+.

Run it with `make footprint`. The programs for both tools process the same messages in the same way,
and are built with the same compiler, flags and C library. Flash is the size of code, constants and
initial values. RAM is the size of variables plus the maximum depth of the stack. To measure the
stack, each program encodes and decodes every message in an emulated machine, with all bytes fields
at their maximum length. This also checks that the programs work.
"""

from __future__ import annotations

import functools
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from footprint.messages import MeasuredMessage, messages
from footprint.programs import nanopbs, ours

COUNTS = (5, 20, 60, 200)
HERE = Path(__file__).parent
# The nanopb package on PyPI lacks the C library. Debian's source archive has it, and stays online.
NANOPB = "0.4.9.1"
NANOPB_URL = f"https://deb.debian.org/debian/pool/main/n/nanopb/nanopb_{NANOPB}.orig.tar.gz"
NANOPB_SHA256 = "4575944a468718ef25f05eb01d994364650b581563089a9841986bb1e460eac3"

GCC = "arm-none-eabi-gcc"
FLAGS = "-mcpu=cortex-m0plus -mthumb -Os -ffunction-sections -fdata-sections -Wl,--gc-sections"
LIBRARY = "-nostartfiles --specs=nano.specs"
QEMU = (
    "qemu-system-arm -M microbit -display none -monitor none -serial none "
    "-chardev stdio,id=out -semihosting-config enable=on,chardev=out -kernel board.elf"
)

Write = Callable[[Path, list[MeasuredMessage]], list[str]]


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory that a program needs, in bytes."""

    flash: int
    variables: int
    stack: int


def unpacked(folder: Path) -> Path:
    """Download nanopb's sources, its generator and C library, and return their directory."""
    with urllib.request.urlopen(NANOPB_URL, timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != NANOPB_SHA256:
        sys.exit(f"footprint: the SHA-256 digest of {NANOPB_URL} is wrong, so it is not used")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"nanopb-{NANOPB}"


def measure(folder: Path, more: list[str]) -> Footprint:
    """Compile and run the program in `folder`; return its footprint.

    :param more: Additional arguments for gcc, such as source files.
    """
    link = [GCC, *FLAGS.split(), *LIBRARY.split(), f"-T{HERE / 'board.ld'}", "-I."]
    _run(*link, "-o", "program.elf", "program.c", *more, cwd=folder)
    text, data, bss, *_ = _run("arm-none-eabi-size", "program.elf", cwd=folder).split()[6:]
    _run(*link, "-o", "board.elf", str(HERE / "board.c"), "exercise.c", *more, cwd=folder)
    stack = int(_run(*QEMU.split(), cwd=folder))
    if not stack:
        sys.exit("footprint: the program decoded a message to other values than it had encoded")
    return Footprint(int(text) + int(data), int(data) + int(bss), stack)


def _run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def rows(tools: dict[str, Write], folder: Path) -> Iterator[str]:
    """Measure each tool; yield the lines of a Markdown table.

    Flash is followed by the flash for each message, RAM by the part of it that is stack.
    """
    heads = [f"{what}, {tool}" for what in ("flash", "RAM") for tool in tools]
    yield f"| messages | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for count in COUNTS:
        found = []
        for tool, write in tools.items():
            program = folder / f"{tool}-{count}"
            program.mkdir()
            found.append(measure(program, write(program, messages(count))))
        flash = [f"{each.flash} ({each.flash / count:.0f})" for each in found]
        ram = [f"{each.variables + each.stack} ({each.stack})" for each in found]
        yield f"| {count} | {' | '.join([*flash, *ram])} |"


def main() -> None:
    """Run the measurements and print the results."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tools: dict[str, Write] = {
            "`inline`": functools.partial(ours, style="inline"),
            "`table`": functools.partial(ours, style="table"),
            "nanopb": functools.partial(nanopbs, nanopb=unpacked(folder)),
        }
        for row in rows(tools, folder):
            print(row, flush=True)
    version = _run(GCC, "-dumpfullversion", cwd=HERE).strip()
    print(f"\nnanopb {NANOPB}, gcc {version} with {FLAGS}")


if __name__ == "__main__":
    main()
