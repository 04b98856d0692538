"""tshark, with the dissector, makes of captured frames what the vectors say."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tests.support import vectors
from tests.support.emitted import emitted

from microvm_proto import frame
from microvm_proto.backends.wireshark import filter_name
from microvm_proto.faults import FAULTS
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")

ROOT = Path(__file__).parents[2]
SCHEMAS = sorted(Path(__file__).with_name("schemas").glob("*.toml"))
SCHEMAS.append(ROOT / "protocol/sandboxd.toml")
NAMES = {fault.number: fault.name for fault in FAULTS}
PORT = 7000

Generated = Callable[[Path], Path]


class Capture:
    """A capture of TCP connections, as a file of libpcap."""

    def __init__(self) -> None:
        # Of raw IP packets.
        self.data = bytearray(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 101))
        self.connections = 0

    def connect(self, data: bytes, *, to_port: bool, step: int) -> None:
        """One side of a new connection, in packets of so many bytes."""
        client = 10_000 + self.connections
        self.connections += 1
        ports = (client, PORT) if to_port else (PORT, client)
        for at in range(0, len(data), step):
            payload = data[at : at + step]
            tcp = struct.pack(">HHIIBBHHH", *ports, 1 + at, 1, 5 << 4, 0x18, 0xFFFF, 0, 0)
            addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
            size = 20 + len(tcp) + len(payload)
            ip = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, 0, 64, 6, 0) + addresses
            self.data += struct.pack("<IIII", 0, 0, size, size) + ip + tcp + payload


def decoded(
    name: str, dissector: Path, capture: Capture, fields: Iterable[str]
) -> list[dict[str, list[str]]]:
    """Return for each connection the values of these fields in its order.

    :param name: what the fields' names begin with.
    """
    path = dissector.with_suffix(".pcap")
    path.write_bytes(capture.data)
    names = [field if field.startswith("_ws.") else f"{name}.{field}" for field in fields]
    with dissector.open() as script, path.open() as captured:
        # As root it runs no scripts. Another user may not be able to reach the folder.
        inherited = (script.fileno(), captured.fileno())
        lua, pcap = (f"/proc/self/fd/{descriptor}" for descriptor in inherited)
        command = ["tshark", "-X", f"lua_script:{lua}", "-o", f"{name}.port:{PORT}"]
        command += ["-r", pcap, "-T", "fields", "-E", "separator=|", "-e", "tcp.stream"]
        command += [argument for field in names for argument in ("-e", field)]
        nobody = 65534 if os.geteuid() == 0 else None
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            pass_fds=inherited,
            env=os.environ | {"HOME": "/nonexistent"},
            user=nobody,
            group=nobody,
            extra_groups=None if nobody is None else [],
        )
    assert (run.returncode, run.stderr) == (0, "")
    found: list[dict[str, list[str]]] = [defaultdict(list) for _ in range(capture.connections)]
    for line in run.stdout.splitlines():
        stream, *values = line.split("|")
        for field, value in zip(fields, values, strict=True):
            if value:
                found[int(stream)][field].append(value)
    return found


def shown(value: Any) -> str:
    """A field's value as tshark writes it."""
    match value:
        case int():
            return str(value)
        case bytes():
            return value.hex() or "<MISSING>"
    return ",".join(map(shown, value))


@pytest.mark.parametrize(("step", "longest"), [(60_000, 3_000_000), (13, 10_000)])
@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: path.stem)
def test_tshark_agrees_with_every_vector(
    path: Path, step: int, longest: int, generated: Generated
) -> None:
    schema = read_schema(path)
    known = vectors.load(generated(path) / "vectors.json")
    known = [each for each in known if len(each.frame) <= longest]
    capture = Capture()
    for vector in known:
        capture.connect(vector.frame, to_port=vector.sender == schema.ends[0], step=step)
    fields = ["type", "fault", "fault_offset", "fault_field", "dropped", "_ws.expert.message"]
    fields += [f"{m.name}.{field.name}" for m in schema.messages for field in m.fields]
    found = decoded(filter_name(schema), generated(path) / "dissector.lua", capture, fields)
    for vector, values in zip(known, found, strict=True):
        # What follows a malformed header is taken to start afresh with the next packet.
        first, *others = values["type"]
        assert int(first) == int.from_bytes(vector.frame[4:6], "little"), vector.name
        fault = [int(values[field][0]) for field in fields[1:4] if values[field]]
        assert fault == list(vector.fault or ()), vector.name
        if vector.fault:
            said = f"{NAMES[vector.fault[0]]} at {vector.fault[1]}: "
            assert values["_ws.expert.message"][0].startswith(said), vector.name
        else:
            assert (others, values["dropped"]) == ([], []), vector.name
            for name, value in vector.fields.items():
                text = "".join(values[f"{vector.message}.{name}"])
                assert text == shown(value), (vector.name, name)


def test_frames_share_packets_and_come_from_both_sides(generated: Generated) -> None:
    schema = read_schema(SCHEMAS[-1])
    known = [each for each in vectors.load(vectors.COMMITTED) if each.fault is None]
    capture = Capture()
    for sender in schema.ends:
        frames = [each.frame for each in known if each.sender == sender]
        capture.connect(b"".join(frames), to_port=sender == schema.ends[0], step=1400)
    found = decoded(
        schema.name, generated(SCHEMAS[-1]) / "dissector.lua", capture, ["type", "fault"]
    )
    for sender, values in zip(schema.ends, found, strict=True):
        types = [
            str(int.from_bytes(each.frame[4:6], "little"))
            for each in known
            if each.sender == sender
        ]
        assert ",".join(values["type"]).split(",") == types
        assert values["fault"] == []


def test_a_name_that_wireshark_knows_gets_another(
    tmp_path: Path, read: Callable[[str], Schema]
) -> None:
    schema = read(
        '[protocol]\nname = "http"\nversion = 1\nends = ["a", "b"]\n'
        '[[message]]\nname = "m"\nnumber = 7\nsender = "b"\nid = "any"\n'
    )
    (text,) = emitted("wireshark", schema, "http.lua").values()
    (tmp_path / "http.lua").write_text(text)
    capture = Capture()
    capture.connect(frame.write(7, 1, b""), to_port=False, step=5)
    found = decoded("http_frames", tmp_path / "http.lua", capture, ["type", "id", "fault"])
    assert found == [{"type": ["7"], "id": ["1"]}]
