"""Tests that the imported messages of MAVLink are encoded and decoded as by pymavlink."""

from __future__ import annotations

import ctypes
import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support import encoders

from microvm_proto.cli import main
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Message, Schema
from microvm_proto.types import Array, Enum, Flags, Float

from .common import Load

pytestmark = pytest.mark.long

MESSAGES = 10_000
HEARTBEAT = 65535
LETTERS = {
    "float": "f",
    "double": "d",
    **{
        f"{u}int{8 << n}_t": "bhiq"[n].upper() if u else "bhiq"[n]
        for u in ("u", "")
        for n in range(4)
    },
}

SHIM = """
#include "common.h"

{again}
int decode(const uint8_t *frame, union common_body *body)
{{
	struct common_fault_at fault = {{ 0 }};
	struct common_header header;

	if (common_decode_header(frame, COMMON_VEHICLE, COMMON_VERSION, &header, &fault))
		common_decode_body(&header, frame + COMMON_HEADER_SIZE, COMMON_VERSION, body, &fault);
	return (int)fault.fault;
}}

size_t encode(uint16_t type, const union common_body *body, uint8_t *frame, size_t room)
{{
	const struct common_header header = {{ .type = type }};

	return again(frame, room, COMMON_VERSION, &header, body);
}}
"""


@dataclass(frozen=True)
class MavlinkEnds:
    """Our codecs, and pymavlink.

    :ivar definitions: file that all of them are generated from.
    """

    definitions: Path
    folder: Path
    schema: Schema
    python: ModuleType
    library: ctypes.CDLL
    theirs: ModuleType

    def message(self, theirs: Any) -> Message:
        """Return our message for one of pymavlink."""
        number = theirs.get_msgId() or HEARTBEAT
        return next(each for each in self.schema.messages if each.number == number)

    def check(self, theirs: Any) -> None:
        """Decode the payload of pymavlink, and encode it again, in Python and C."""
        message = self.message(theirs)
        expected = values(message, theirs)
        body = bytes(theirs.get_msgbuf()[10:-2]).ljust(message.max_body, b"\0")
        frame = struct.pack("<IHHI", len(body), message.number, 0, 0) + body

        decoder = self.python.Decoder("vehicle")
        decoder.receive_data(frame)
        mine = decoder.next_message()
        by_python = {field.name: getattr(mine, field.python_name) for field in message.fields}
        assert {name: plain(value) for name, value in by_python.items()} == {
            field.name: None if field.absent == expected[field.name] else expected[field.name]
            for field in message.fields
        }
        assert mine.encode() == frame

        room = ctypes.create_string_buffer(4096)
        assert self.library.decode(frame, room) == 0
        by_c = struct_of(message).from_buffer(room)
        found = {field.name: plain(getattr(by_c, field.c_name)) for field in message.fields}
        assert found == expected
        written = ctypes.create_string_buffer(len(frame))
        size = ctypes.c_size_t(len(frame))
        assert self.library.encode(message.number, room, written, size) == len(frame)
        assert written.raw == frame

        their_end = self.theirs.MAVLink(None)
        again = their_end.decode(bytearray(theirs._pack(their_end, theirs.crc_extra, body)))
        assert values(message, again) == expected


def values(message: Message, theirs: Any) -> dict[str, Any]:
    """Return the fields of a message of pymavlink, by our names."""
    names = {name.lower(): name for name in theirs.fieldnames}
    found = {}
    for field in message.fields:
        name = names[field.name]
        value = plain(getattr(theirs, f"_{name}_raw", getattr(theirs, name)))
        if isinstance(field.type, Array):  # the text of pymavlink may be shorter
            value = value if isinstance(value, tuple) else (value,)
            value += (0,) * (field.type.count - len(value))
        found[field.name] = value
    return found


def plain(value: Any) -> Any:
    """Return a value that can be compared, even a NaN."""
    match value:
        case float():
            return struct.pack("<d", value)
        case None:
            return None
        case int():
            return int(value)
    return tuple(plain(each) for each in value)


def struct_of(message: Message) -> type[ctypes.Structure]:
    fields = [(field.c_name, c_type(field.type)) for field in message.fields]
    return type(message.name, (ctypes.Structure,), {"_fields_": fields})


def c_type(kind: Any) -> Any:
    match kind:
        case Array(element=element, count=count):
            return c_type(element) * count
        case Enum(base=base) | Flags(base=base):
            return c_type(base)
        case Float(size=size):
            return ctypes.c_float if size == 4 else ctypes.c_double
    return getattr(ctypes, f"c_{'' if kind.signed else 'u'}int{8 * kind.size}")


@pytest.fixture(scope="module", params=["fast and table", "plain and inline"])
def ends(
    tmp_path_factory: pytest.TempPathFactory, load: Load, request: pytest.FixtureRequest
) -> MavlinkEnds:
    theirs = pytest.importorskip("pymavlink.dialects.v20.common")
    folder = tmp_path_factory.mktemp("mavlink")
    path = folder / "common.toml"
    definitions = Path(str(theirs.__file__)).with_suffix(".xml")
    run("import", "mavlink", definitions, "-o", path)
    for backend, style in zip(("python", "c"), request.param.split(" and "), strict=True):
        line = f'backend = "{backend}"\n'
        path.write_text(path.read_text().replace(line, f'{line}style = "{style}"\n'))
    run("gen", path)
    schema = read_schema(path)
    (folder / "shim.c").write_text(SHIM.format(again=encoders.again(schema)))
    flags = "-std=c11 -O1 -Wall -Wextra -Wconversion -Werror -fPIC -shared".split()
    sanitizers = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    command = ["gcc", *flags, *sanitizers, "-o", "shim.so", "shim.c"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "shim.so"))
    library.encode.restype = ctypes.c_size_t
    return MavlinkEnds(definitions, folder, schema, load(folder / "common.py"), library, theirs)


def run(*arguments: str | Path) -> None:
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.output


def at_random(theirs: ModuleType, rng: random.Random) -> Iterator[Any]:
    """Yield random messages of pymavlink, of each kind in turn."""
    kinds = [theirs.mavlink_map[number] for number in sorted(theirs.mavlink_map)]
    for number in range(MESSAGES):
        kind = kinds[number % len(kinds)]
        given: dict[str, object] = {}
        for name, type_ in zip(kind.fieldnames, kind.fieldtypes, strict=True):
            count = kind.array_lengths[kind.ordered_fieldnames.index(name)]
            if type_ == "char":
                given[name] = rng.randbytes(rng.randint(0, count))
            else:
                values = [at_edge(type_, rng) for _ in range(max(count, 1))]
                given[name] = values if count else values[0]
        yield kind(**given)


def at_edge(type_: str, rng: random.Random) -> float:
    """Return a value of a MAVLink type with any bits, often all or none."""
    layout = struct.Struct(f"<{LETTERS[type_]}")
    size = layout.size
    data = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size), rng.randbytes(size)])
    value: float = layout.unpack(data)[0]
    return value


def test_random_messages_agree_with_pymavlink(ends: MavlinkEnds) -> None:
    rng = random.Random(0)
    for message in at_random(ends.theirs, rng):
        message.pack(ends.theirs.MAVLink(None))
        ends.check(message)
