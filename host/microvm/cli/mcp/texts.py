"""The results of tools as text for a model."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence

from mcp_types import ImageContent

from microvm.cli.mcp.excerpt import excerpt
from microvm.guest.files import FileStatus
from microvm.interpreter.cell import Cell
from microvm.printable import printable
from microvm.units import format_duration

_MAX_ENTRIES = 1000  # maximum number of entries of a folder in a text
_MAX_IMAGES = 8  # maximum number of images of a cell


def with_note(text: str, note: str) -> str:
    """Return a text, and a note below it in brackets."""
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}[{note}]"


def joined(texts: Iterable[str]) -> str:
    """Return those texts that are not empty, each on lines of its own."""
    return "\n".join(_stripped(texts))


def _stripped(texts: Iterable[str]) -> list[str]:
    return [stripped for each in texts if (stripped := each.rstrip("\n"))]


def of_cell(cell: Cell, timeout: float, limit: int) -> str:
    """Return the output, the value and the error of a cell, with about `limit` bytes at most."""
    error = cell.error.traceback if cell.error is not None else ""
    displays = [each for each in cell.displays if each.png is None and not each.is_result]
    displayed = "\n".join(each.text for each in displays if each.text)
    outputs = (cell.stdout, cell.stderr, displayed, cell.result or "", error)
    parts = _stripped(outputs)
    shown = [excerpt(each, limit // len(parts)) for each in parts]
    pictures = len(_pictures(cell))
    if pictures > _MAX_IMAGES:
        shown.append(f"[only the first {_MAX_IMAGES} of {pictures} images are returned]")
    if cell.dropped:
        shown.append(f"[{cell.dropped} more bytes of output are lost]")
    if cell.timed_out:
        shown.append(f"[interrupted after {format_duration(timeout)}, its time limit]")
    if cell.killed:
        shown.append("[the processes that the code has started were killed]")
    if cell.exit_status is not None:
        shown.append(f"[the code has raised SystemExit({cell.exit_status}); Python continues]")
    return "\n".join(shown) or "[no output]"


def images(cell: Cell) -> Iterator[ImageContent]:
    """Yield the first images that a cell has displayed."""
    for png in _pictures(cell)[:_MAX_IMAGES]:
        yield ImageContent(data=b64encode(png).decode(), mime_type="image/png")


def _pictures(cell: Cell) -> list[bytes]:
    return [display.png for display in cell.displays if display.png is not None]


def of_folder(entries: Sequence[FileStatus], limit: int) -> str:
    """Return a line for each entry of a folder."""
    lines = [_entry(each) for each in entries[:_MAX_ENTRIES]]
    if len(entries) > _MAX_ENTRIES:
        lines.append(f"[{len(entries) - _MAX_ENTRIES} more: use run_command with ls]")
    return excerpt("\n".join(lines), limit) or "[the folder is empty]"


def _entry(entry: FileStatus) -> str:
    name = printable(entry.name)
    if entry.is_folder:
        return f"{name}/"
    if entry.is_symlink:
        return f"{name} -> {printable(entry.target)}"
    return f"{name} ({entry.size} bytes)" if entry.is_file else f"{name} (special file)"


def of_lines(data: bytes, first: int, limit: int) -> str:
    """Return the lines of a file from number `first`, with at most about `limit` bytes.

    :raises UnicodeDecodeError: If these lines are no UTF-8 text.
    """
    total = data.count(b"\n") + (data[-1:] not in (b"", b"\n"))
    if first > total:
        return f"[the file has {total} lines]"
    start = 0
    for _ in range(first - 1):
        start = _next_line(data, start)
    end, last = _next_line(data, start), first
    is_cut = end - start > limit
    while last < total and (following := _next_line(data, end)) - start <= limit:
        end, last = following, last + 1
    text = excerpt(data[start:end].decode(), limit)
    if first == 1 and last == total and not is_cut:
        return text
    cut = "; for the rest of the line, use run_command with `cut -b`" if is_cut else ""
    rest = f"; read on with first_line={last + 1}" if last < total else ""
    return with_note(text, f"lines {first} to {last} of {total}{cut}{rest}")


def _next_line(data: bytes, position: int) -> int:
    return data.find(b"\n", position) + 1 or len(data)
