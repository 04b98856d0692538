"""Tests that tshark with the dissector decodes captured frames as the vectors expect."""

from __future__ import annotations

import os
import shutil
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import vectors
from tests.support.captured import captured
from tests.support.emitted import emitted

from microvm_proto import frame
from microvm_proto.backends.wireshark import filter_name
from microvm_proto.faults import FAULTS
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Message
from microvm_proto.types import Array, Bool, ByteList, Bytes, Flags, Float, List, Struct, Text, Type

from .common import SANDBOXD, SCHEMAS, TYPES, Generated, Read

needs_tshark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
pytestmark = [pytest.mark.thorough, needs_tshark]

NAMES = {fault.number: fault.name for fault in FAULTS}
PORT = 7000


class Capture:
    """A capture of TCP connections or datagrams, as a file of libpcap."""

    def __init__(self) -> None:
        # The link type of raw IP packets.
        self.data = bytearray(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101))
        self.connections = 0

    def connect(self, data: bytes, *, to_port: bool, step: int) -> None:
        """Add one side of a new connection, in packets with this number of bytes."""
        client = 10_000 + self.connections
        self.connections += 1
        ports = (client, PORT) if to_port else (PORT, client)
        for at in range(0, len(data), step):
            tcp = struct.pack(">HHIIBBHHH", *ports, 1 + at, 1, 5 << 4, 0x18, 0xFFFF, 0, 0)
            self._packet(6, tcp + data[at : at + step])

    def datagram(self, data: bytes, *, to_port: bool) -> None:
        """Add a datagram between two new ports."""
        client = 10_000 + self.connections
        self.connections += 1
        ports = (client, PORT) if to_port else (PORT, client)
        self._packet(17, struct.pack(">HHHH", *ports, 8 + len(data), 0) + data)

    def _packet(self, protocol: int, data: bytes) -> None:
        addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        size = 20 + len(data)
        ip = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, protocol, 0) + addresses
        self.data += struct.pack("<IIII", 0, 0, size, size) + ip + data


def tshark(name: str, dissector: Path, capture: Capture, *arguments: str) -> str:
    """Return the output of tshark for the captured frames.

    :param name: prefix of the names of the fields.
    """
    path = dissector.with_suffix(".pcap")
    path.write_bytes(capture.data)
    with dissector.open() as script, path.open() as packets:
        # tshark runs no scripts as root, and another user may have no access to the folder.
        inherited = (script.fileno(), packets.fileno())
        lua, pcap = (f"/proc/self/fd/{descriptor}" for descriptor in inherited)
        command = ["tshark", "-X", f"lua_script:{lua}", "-o", f"{name}.port:{PORT}"]
        nobody = 65534 if os.geteuid() == 0 else None
        run = captured(
            [*command, "-r", pcap, *arguments],
            pass_fds=inherited,
            env=os.environ | {"HOME": "/nonexistent"},
            user=nobody,
            group=nobody,
            extra_groups=None if nobody is None else [],
        )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def decoded(
    name: str, dissector: Path, capture: Capture, fields: Iterable[str], over: str = "tcp"
) -> list[dict[str, list[str]]]:
    """Return the values of these fields for each connection, in order."""
    names = [field if field.startswith("_ws.") else f"{name}.{field}" for field in fields]
    arguments = ["-T", "fields", "-E", "separator=|", "-e", f"{over}.stream"]
    arguments += [argument for field in names for argument in ("-e", field)]
    found: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(capture.connections)]
    for line in tshark(name, dissector, capture, *arguments).splitlines():
        stream, *values = line.split("|")
        for field, value in zip(fields, values, strict=True):
            if value:
                found[int(stream)][field].append(value)
    return found


def leaves(key: str, kind: Type, value: Any) -> Iterator[tuple[str, Type, Any]]:
    """Return the parts of a value by the names of the fields in Wireshark."""
    match kind:
        case Struct(name=name, fields=fields):
            for field in fields:
                yield from leaves(f"{name}.{field.name}", field.type, value[field.name])
        case Array(is_octets=False) | List() | ByteList():
            element = Bytes(kind.max_item, nul=True) if isinstance(kind, ByteList) else kind.element
            for each in value:
                yield from leaves(key, element, each)
        case _:
            yield key, kind, value


def shown(kind: Type, value: Any) -> str:
    """Return a value as tshark prints it."""
    match kind:
        case Float(size=size):
            (number,) = struct.unpack("<f" if size == 4 else "<d", value.to_bytes(size, "little"))
            return f"{number:.{6 if size == 4 else 15}g}"
        case Flags(size=size):
            return f"{value:#0{2 + 2 * size}x}"
        case Text():
            # Text after a NUL is only in the details of the packet.
            return str(value.decode().partition("\0")[0])
        case Bool():
            return str(bool(value))
    return str(value) if isinstance(value, int) else value.hex() or "<MISSING>"


@pytest.mark.parametrize(("step", "longest"), [(60_000, 3_000_000), (13, 10_000)])
@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_tshark_reads_vectors(path: Path, step: int, longest: int, generated: Generated) -> None:
    schema = read_schema(path)
    known = vectors.load(generated(path) / "vectors.json")
    known = [each for each in known if len(each.frame) <= longest]
    capture = Capture()
    for vector in known:
        capture.connect(vector.frame, to_port=vector.sender == schema.ends[0], step=step)
    fields = ["type", "fault", "fault_offset", "fault_field", "dropped", "_ws.expert.message"]
    owners: list[Message | Struct] = [*schema.messages, *schema.structs]
    fields += [f"{owner.name}.{field.name}" for owner in owners for field in owner.fields]
    found = decoded(filter_name(schema), generated(path) / "dissector.lua", capture, fields)
    for vector, values in zip(known, found, strict=True):
        # After a malformed header, decoding continues with the next packet.
        first, *others = values["type"]
        assert int(first) == int.from_bytes(vector.frame[4:6], "little"), vector.name
        fault = [int(values[field][0]) for field in fields[1:4] if values[field]]
        assert fault == list(vector.fault or ()), vector.name
        if vector.fault:
            said = f"{NAMES[vector.fault[0]]} at {vector.fault[1]}: "
            assert values["_ws.expert.message"][0].startswith(said), vector.name
        else:
            assert (others, values["dropped"]) == ([], []), vector.name
            expected = defaultdict(list)
            (message,) = [each for each in schema.messages if each.name == vector.message]
            for field in message.visible:
                key, value = f"{message.name}.{field.name}", vector.fields[field.name]
                for name, kind, leaf in leaves(key, field.type, value):
                    expected[name].append(shown(kind, leaf))
            for name, texts in expected.items():
                assert "".join(values[name]) == ",".join(texts), (vector.name, name)


def test_units_and_names_stand_beside_numbers(generated: Generated) -> None:
    folder = generated(TYPES)
    known = {each.name: each.frame for each in vectors.load(folder / "vectors.json")}
    capture = Capture()
    names = ("scalars, the least", "scalars, the most", "structs, the most")
    for name in names:
        capture.connect(known[name], to_port=True, step=60_000)
    lines = tshark("types", folder / "dissector.lua", capture, "-V").splitlines()
    shown = [line.strip() for line in lines]
    for line in """
        temperature: -32768 (absent)
        temperature: 32767 (327.67 degC)
        x: 3.40282e+38 m
        depth: 65535 (absent)
        samples: 32767 (16383.5 mV)
        1... .... = forever: True
        mode: stuck (4)
    """.strip().splitlines():
        assert line.strip() in shown


def test_frames_share_packets_and_come_from_both_sides(generated: Generated) -> None:
    schema = read_schema(SANDBOXD)
    known = [each for each in vectors.load(vectors.COMMITTED) if each.fault is None]
    capture = Capture()
    for sender in schema.ends:
        frames = [each.frame for each in known if each.sender == sender]
        capture.connect(b"".join(frames), to_port=sender == schema.ends[0], step=1400)
    found = decoded(schema.name, generated(SANDBOXD) / "dissector.lua", capture, ["type", "fault"])
    for sender, values in zip(schema.ends, found, strict=True):
        sent = [each.frame for each in known if each.sender == sender]
        types = [str(int.from_bytes(frame[4:6], "little")) for frame in sent]
        assert ",".join(values["type"]).split(",") == types
        assert values["fault"] == []


def test_a_name_that_wireshark_knows_gets_another(tmp_path: Path, read: Read) -> None:
    schema = read(
        '[protocol]\nname = "http"\nversion = 1\nends = ["a", "b"]\n'
        '[[message]]\nname = "m"\nnumber = 7\nsender = "b"\nid = "any"\n'
    )
    (text,) = emitted("wireshark", schema, "http.lua").values()
    (tmp_path / "http.lua").write_text(text)
    capture = Capture()
    capture.connect(frame.write(schema, 7, 1, b""), to_port=False, step=5)
    found = decoded("http_frames", tmp_path / "http.lua", capture, ["type", "id", "fault"])
    assert found == [{"type": ["7"], "id": ["1"]}]
