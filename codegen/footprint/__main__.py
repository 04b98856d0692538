"""The flash and the RAM of the generated C beside nanopb's, on a Cortex-M0+, for the same messages.

`make footprint` runs it. Both tools have the same compiler, flags and library, and programs that do
the same. Flash is code, constants and initial values. RAM is variables, and the deepest that the
stack is while each message, with its longest bytes, goes there and back in an emulated machine,
which also shows that the programs work.
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

from footprint.messages import Message, messages
from footprint.programs import nanopbs, ours

COUNTS = (5, 20, 60, 200)
HERE = Path(__file__).parent
# nanopb's package for Python has no library in C; Debian's source of it has, and is kept.
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

Write = Callable[[Path, list[Message]], list[str]]


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a program takes, in bytes."""

    flash: int
    variables: int
    stack: int


def unpacked(folder: Path) -> Path:
    """Fetch nanopb, whose sources have the generator as well as the library."""
    with urllib.request.urlopen(NANOPB_URL, timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != NANOPB_SHA256:
        sys.exit(f"footprint: {NANOPB_URL} is not what it was")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"nanopb-{NANOPB}"


def measure(folder: Path, more: list[str]) -> Footprint:
    """Compile the program that is there, and run it."""
    link = [GCC, *FLAGS.split(), *LIBRARY.split(), f"-T{HERE / 'board.ld'}", "-I."]
    _run(*link, "-o", "program.elf", "program.c", *more, cwd=folder)
    text, data, bss, *_ = _run("arm-none-eabi-size", "program.elf", cwd=folder).split()[6:]
    _run(*link, "-o", "board.elf", str(HERE / "board.c"), "exercise.c", *more, cwd=folder)
    stack = int(_run(*QEMU.split(), cwd=folder))
    if not stack:
        sys.exit("footprint: a message did not come back as it was sent")
    return Footprint(int(text) + int(data), int(data) + int(bss), stack)


def _run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True).stdout


def rows(tools: dict[str, Write], folder: Path) -> Iterator[str]:
    """Yield a table of Markdown, with the flash for a message, and the part that is stack."""
    heads = [f"{what}, {tool}" for what in ("flash", "RAM") for tool in tools]
    yield f"| messages | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for count in COUNTS:
        found = []
        for tool, write in tools.items():
            place = folder / f"{tool}-{count}"
            place.mkdir()
            found.append(measure(place, write(place, messages(count))))
        flash = [f"{each.flash} ({each.flash / count:.0f})" for each in found]
        ram = [f"{each.variables + each.stack} ({each.stack})" for each in found]
        yield f"| {count} | {' | '.join([*flash, *ram])} |"


def main() -> None:
    """Measure and print."""
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
