"""Tests of the input of `explain`: the output of common tools is read, other input is refused."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from microvm.wire import codec
from microvm_proto.dump import MAX_SIZE, Unreadable, bytes_of, stream_of

from .common import Run, failure

PING = codec.Ping(42).encode()
# Text that looks like bytes or like column ends, equal lines, and an odd length.
DATA = b"ab cd 0a 1b  |x|"
STREAMS = {
    "short": PING,
    "zeros": codec.Shutdown().encode(),
    "text": codec.ExecOutput(3, codec.Stream.STDOUT, DATA * 3 + b"|" * 7).encode(),
    "repeated": PING + codec.ExecOutput(3, codec.Stream.STDERR, bytes(100) + b" " * 99).encode(),
}


def read(data: bytes) -> bytes:
    """Return the bytes that a dump describes."""
    return b"".join(stream_of([data]))


def printed(command: str, data: bytes) -> bytes:
    words = command.split()
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize(
    "command",
    [
        *("xxd", "xxd -g 1", "xxd -a", "xxd -u -c 8", "xxd -p", "xxd -g 0 -c 7", "xxd -i"),
        *("hexdump -C", "hexdump -v -C", "od -t x1", "od -v -t x1", "od -A x -t x1z"),
        *("od -A d -t x1", "od -A n -v -t x1"),
    ],
)
def test_dumps_of_common_tools_are_read(command: str, stream: bytes) -> None:
    assert read(printed(command, stream)) == stream


@pytest.mark.parametrize("stream", [PING, STREAMS["text"]], ids=["short", "text"])
@pytest.mark.parametrize(
    "command",
    [
        *("xxd -e", "xxd -e -g 2", "xxd -E", "xxd -b", "xxd -d", "hexdump", "hexdump -x"),
        *("hexdump -b", "od", "od -A x", "od -t x1c", "od -t x2", "od -A x -t x2", "od -c"),
    ],
)
def test_dump_with_swapped_bytes_is_refused(command: str, stream: bytes) -> None:
    with pytest.raises(Unreadable, match="dump"):
        read(printed(command, stream))


def wireshark(data: bytes, *, text: bool) -> str:
    """Return a packet in the text form that Wireshark copies."""
    lines = []
    for at in range(0, len(data), 16):
        part = data[at : at + 16]
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"{at:04x}   {part.hex(' '):<47}{'   ' + shown if text else ''}\n")
    return "".join(lines)


@given(data=st.binary(min_size=17, max_size=80), text=st.booleans())
@example(data=DATA * 3, text=True)
@example(data=b" " * 40, text=True)
def test_copied_text_of_wireshark_is_read(data: bytes, text: bool) -> None:
    assert bytes_of(wireshark(data, text=text)) == data
    assert bytes_of(wireshark(data, text=text) + "\n" + wireshark(PING, text=text)) == data + PING
    # As after an editor that removes trailing spaces.
    trimmed = re.sub(" +$", "", wireshark(data, text=text), flags=re.MULTILINE)
    assert bytes_of(trimmed) == data


@given(data=st.binary(min_size=40, max_size=80), line=st.integers(0, 5), text=st.booleans())
def test_a_dump_that_lacks_a_line_is_refused(data: bytes, line: int, text: bool) -> None:
    lines = wireshark(data, text=text).splitlines(keepends=True)
    lines += [f"{len(data):04x}\n"]
    del lines[1 + line % (len(lines) - 2)]
    with pytest.raises(Unreadable):
        bytes_of("".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "08000000 04000000 00000000 2a000000 00000000",
        "00000000 0800 0000 00000000",
        "00000000 0800 0000 00000000\n00000000 0800 0000 00000000\n",
        "0800\n0000\n0400\n",
        "08:00:00:00:04:00",
        "\ufeff0800",
        "00 " * 5000,
    ],
    ids=["words", "fields", "lines", "pairs", "colons", "byte order mark", "long"],
)
def test_hexadecimal_of_any_spacing_is_no_dump(text: str) -> None:
    assert read(text.encode()) == bytes.fromhex(re.sub(r"[^0-9a-f]", "", text))


@given(data=st.binary(min_size=1, max_size=40))
def test_bytes_as_python_and_c_have_them_are_read(data: bytes) -> None:
    elements = ", ".join(f"0x{byte:02X}" for byte in data)
    for text in (repr(data), elements, f"uint8_t const frame[] = {{\n    {elements},\n}};\n"):
        assert bytes_of(text) == data


@pytest.mark.parametrize(
    "text",
    ["b'\\q'", "b'a' + b'b'", "{0x1, 0x100}", "{0x1} {0x2}", "0x08 0x00", "{}", "f(0x01)", "b'é'"],
)
def test_other_source_code_is_refused(text: str) -> None:
    with pytest.raises(Unreadable, match="is text, but neither"):
        bytes_of(text)


def test_ambiguous_line_is_refused(run: Run) -> None:
    assert failure(run, "explain", "00000000 08 00 00 00 00 00 00 00").endswith(
        "remove the offset, or the spaces\n"
    )
    assert run("explain", "00000000: 0000 0000 0800 0000 0000 0000").exit_code == 0


def test_a_line_of_repetition_fills_no_memory() -> None:
    head = "00000000: 00 00 00 00  ....\n*\n"
    assert len(bytes_of(f"{head}00001000:\n")) == 0x1000
    with pytest.raises(Unreadable):
        bytes_of(f"{head}{MAX_SIZE + 4:08x}:\n")
    with pytest.raises(Unreadable):
        bytes_of(f"{head}fffffffffffffffc:\n")
