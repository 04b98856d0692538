"""Generate the measured programs, one for each tool.

Each program has a buffer for a received frame, one for a sent frame, and one for a message. Its
function `receive` decodes a frame of any message. It has a function that encodes each message.

Frames of the generated C code have the header of the protocol, which is checked. nanopb does not
define frames, so its frames have a minimal header: two bytes of length and two bytes of type.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from footprint import messages as measured
from footprint.messages import MeasuredMessage
from microvm_proto import backends
from microvm_proto.resolve import read_schema

# All options that make nanopb smaller. The messages have no 64-bit fields.
NANOPB_FLAGS = "-DPB_NO_ERRMSG -DPB_BUFFER_ONLY -DPB_WITHOUT_64BIT".split()

# The program has no `main`, so the linker would remove functions without this attribute.
KEPT = '#define KEPT __attribute__((used, noinline, section(".kept")))'

OURS = """
#include "p.h"

@kept@
uint8_t received[P_HEADER_SIZE + P_MAX_BODY], sent[P_HEADER_SIZE + P_MAX_BODY];
union p_body message;

KEPT unsigned receive(size_t size)
{
	struct p_fault_at fault;
	struct p_header header;

	if (size < P_HEADER_SIZE)
		return 0;
	if (!p_decode_header(received, P_BOARD, P_VERSION, &header, &fault))
		return 0;
	if (size != P_HEADER_SIZE + header.body_length)
		return 0;
	if (!p_decode_body(&header, received + P_HEADER_SIZE, P_VERSION, &message, &fault))
		return 0;
	return header.type;
}
"""
OUR_SEND = """
KEPT size_t send_@n@(const struct p_m@n@ *from)
{
	return p_encode_m@n@(sent, sizeof sent, P_VERSION, from);
}
"""

NANOPBS = """
#include "p.pb.h"
#include <pb_decode.h>
#include <pb_encode.h>

@kept@
enum { HEADER_SIZE = 4, MAX_BODY = P_PB_H_MAX_SIZE };
uint8_t received[HEADER_SIZE + MAX_BODY], sent[HEADER_SIZE + MAX_BODY];
union { @members@ } message;
static const pb_msgdesc_t *const types[] = { @types@ };

KEPT unsigned receive(size_t size)
{
	if (size < HEADER_SIZE)
		return 0;
	unsigned length = received[0] | (unsigned)received[1] << 8;
	unsigned type = received[2] | (unsigned)received[3] << 8;
	if (length != size - HEADER_SIZE || type - 1 >= sizeof types / sizeof types[0])
		return 0;
	pb_istream_t stream = pb_istream_from_buffer(received + HEADER_SIZE, length);
	return pb_decode(&stream, types[type - 1], &message) ? type : 0;
}

static __attribute__((noinline)) size_t encode(unsigned type, const void *from)
{
	pb_ostream_t stream = pb_ostream_from_buffer(sent + HEADER_SIZE, MAX_BODY);

	if (!pb_encode(&stream, types[type - 1], from))
		return 0;
	sent[0] = (uint8_t)stream.bytes_written;
	sent[1] = (uint8_t)(stream.bytes_written >> 8);
	sent[2] = (uint8_t)type;
	sent[3] = (uint8_t)(type >> 8);
	return HEADER_SIZE + stream.bytes_written;
}
"""
NANOPB_SEND = """
KEPT size_t send_@n@(const m@n@ *from)
{
	return encode(@n@, from);
}
"""

EXERCISE = """
#include <string.h>
#include "program.c"

const unsigned messages = @count@;

void fill(unsigned number)
{
	memset(&message, 1, sizeof message);
	switch (number) {
@fills@	}
}

size_t send(unsigned number)
{
	switch (number) {
@sends@	}
	return 0;
}
"""


def ours(folder: Path, messages: list[MeasuredMessage], style: str) -> list[str]:
    """Write a program with the generated C code and its test driver; return arguments for gcc."""
    _write_lines(folder / "p.toml", measured.schema(messages, style))
    schema = read_schema(folder / "p.toml")
    (output,) = schema.outputs
    for name, text in backends.find("c")(schema, output).items():
        (folder / name).write_text(text)
    _write(folder, OURS, OUR_SEND, messages)
    _exercise(folder, messages, "message.m{n}.f{at} = (struct p_slice){{ sent, {most} }};")
    return []


def nanopbs(folder: Path, messages: list[MeasuredMessage], nanopb: Path) -> list[str]:
    """Write a program with `nanopb`'s sources and its test driver; return arguments for gcc."""
    _write_lines(folder / "p.proto", measured.proto(messages))
    _write_lines(folder / "p.options", measured.options(messages))
    generator = str(nanopb / "generator/nanopb_generator.py")
    subprocess.run([sys.executable, generator, "-q", "p.proto"], cwd=folder, check=True)
    numbers = range(1, len(messages) + 1)
    program = NANOPBS.replace("@members@", " ".join(f"m{n} of_{n};" for n in numbers))
    program = program.replace("@types@", ", ".join(f"&m{n}_msg" for n in numbers))
    _write(folder, program, NANOPB_SEND, messages)
    _exercise(folder, messages, "message.of_{n}.f{at}.size = {most};")
    library = (f"{nanopb}/{name}.c" for name in ("pb_common", "pb_decode", "pb_encode"))
    return ["p.pb.c", f"-I{nanopb}", *NANOPB_FLAGS, *library]


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _write(folder: Path, program: str, send: str, messages: list[MeasuredMessage]) -> None:
    sends = (send.replace("@n@", str(number)) for number in range(1, len(messages) + 1))
    (folder / "program.c").write_text(program.replace("@kept@", KEPT) + "".join(sends))


def _exercise(folder: Path, messages: list[MeasuredMessage], longest: str) -> None:
    """Write the test driver: C code that fills and sends any message.

    :param longest: C statement that sets a bytes field to its maximum length.
    """
    fills = sends = ""
    for n, fields in enumerate(messages, 1):
        sizes = {at: f.keys.split()[-1] for at, f in enumerate(fields) if f.type == "bytes"}
        lines = "".join(f"\t\t{longest.format(n=n, at=at, most=sizes[at])}\n" for at in sizes)
        fills += f"\tcase {n}:\n{lines}\t\tbreak;\n"
        sends += f"\tcase {n}:\n\t\treturn send_{n}((const void *)&message);\n"
    text = EXERCISE.replace("@count@", str(len(messages)))
    (folder / "exercise.c").write_text(text.replace("@fills@", fills).replace("@sends@", sends))
