"""The programs that are measured, one with each tool.

Both have buffers for one frame each way and for one message, `receive`, which decodes a frame of
any message, and for each message a function that encodes it. Our frames have their header, with
its checks; nanopb has none, so that its frames have the least that would do: two bytes of length,
two of type.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from footprint import messages as measured
from footprint.messages import Message
from microvm_proto import backends
from microvm_proto.resolve import read_schema

# All that makes nanopb smaller; there are no 64-bit fields.
NANOPB_FLAGS = "-DPB_NO_ERRMSG -DPB_BUFFER_ONLY -DPB_WITHOUT_64BIT".split()

# What a program must not lose when it is linked without a main.
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


def ours(folder: Path, messages: list[Message], style: str) -> list[str]:
    """Write a program, and what exercises it, with our generator; return what else gcc is told."""
    (folder / "p.toml").write_text(measured.schema(messages, style))
    schema = read_schema(folder / "p.toml")
    (output,) = schema.outputs
    for name, text in backends.find("c")(schema, output).items():
        (folder / name).write_text(text)
    _write(folder, OURS, OUR_SEND, messages)
    _exercise(folder, messages, "message.m{n}.f{at} = (struct p_slice){{ sent, {most} }};")
    return []


def nanopbs(folder: Path, messages: list[Message], nanopb: Path) -> list[str]:
    """Write the same with nanopb, which is unpacked there."""
    (folder / "p.proto").write_text(measured.proto(messages))
    (folder / "p.options").write_text(measured.options(messages))
    generator = str(nanopb / "generator/nanopb_generator.py")
    subprocess.run([sys.executable, generator, "-q", "p.proto"], cwd=folder, check=True)
    numbers = range(1, len(messages) + 1)
    program = NANOPBS.replace("@members@", " ".join(f"m{n} of_{n};" for n in numbers))
    program = program.replace("@types@", ", ".join(f"&m{n}_msg" for n in numbers))
    _write(folder, program, NANOPB_SEND, messages)
    _exercise(folder, messages, "message.of_{n}.f{at}.size = {most};")
    library = (f"{nanopb}/{name}.c" for name in ("pb_common", "pb_decode", "pb_encode"))
    return ["p.pb.c", f"-I{nanopb}", *NANOPB_FLAGS, *library]


def _write(folder: Path, program: str, send: str, messages: list[Message]) -> None:
    sends = (send.replace("@n@", str(number)) for number in range(1, len(messages) + 1))
    (folder / "program.c").write_text(program.replace("@kept@", KEPT) + "".join(sends))


def _exercise(folder: Path, messages: list[Message], longest: str) -> None:
    """Write what fills any message, with the longest bytes, and sends it."""
    fills = sends = ""
    for n, fields in enumerate(messages, 1):
        sizes = {at: f.keys.split()[-1] for at, f in enumerate(fields) if f.type == "bytes"}
        lines = "".join(f"\t\t{longest.format(n=n, at=at, most=sizes[at])}\n" for at in sizes)
        fills += f"\tcase {n}:\n{lines}\t\tbreak;\n"
        sends += f"\tcase {n}:\n\t\treturn send_{n}((const void *)&message);\n"
    text = EXERCISE.replace("@count@", str(len(messages)))
    (folder / "exercise.c").write_text(text.replace("@fills@", fills).replace("@sends@", sends))
