"""Tests of captures: the messages of each side are found in any sequence of packets."""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from microvm.wire import codec
from microvm_proto.capture import MAX_PACKET
from microvm_proto.conversation import explain_capture
from microvm_proto.dump import Unreadable
from microvm_proto.explain import BrokenStream
from microvm_proto.frame import write
from microvm_proto.schema import Schema
from microvm_proto.segments import MAX_FLOWS, MAX_WAITING

from .common import Read, Run

pytestmark = pytest.mark.usefixtures("in_project")

PORT = 7000
PING = codec.Ping(42).encode()
PONG = codec.Pong(42).encode()
OUTPUT = codec.ExecOutput(3, codec.Stream.STDOUT, bytes(range(256))).encode()
FOREIGN = b"GET / HTTP/1.1\r\n\r\n"
NO_FRAME = bytes(12) + b"\xff" * 8
SYN, ACK = 0x02, 0x10


def tcp(
    data: bytes,
    sequence: int,
    *,
    ack: int = 0,
    flags: int = ACK,
    client: int = 5000,
    back: bool = False,
) -> bytes:
    """Return an IPv4 packet with a TCP segment from the host to the guest, or back."""
    ports = (PORT, client) if back else (client, PORT)
    numbers = (sequence % (1 << 32), ack % (1 << 32))
    return ipv4(6, struct.pack(">HHIIBBHHH", *ports, *numbers, 5 << 4, flags, 0, 0, 0) + data)


def udp(data: bytes) -> bytes:
    return ipv4(17, struct.pack(">HHHH", 5000, PORT, 8 + len(data), 0) + data)


def ipv4(protocol: int, payload: bytes, fragment: int = 0) -> bytes:
    addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
    size = 20 + len(payload)
    head = struct.pack(">BBHHHBBH", 0x45, 0, size, 0, fragment, 64, protocol, 0)
    return head + addresses + payload


def ipv6(payload: bytes) -> bytes:
    """Return an IPv6 packet with a payload of UDP after an option."""
    head = struct.pack(">IHBB", 6 << 28, 8 + len(payload), 0, 64)
    return head + bytes(15) + b"\1" + bytes(15) + b"\2" + bytes([17, 0]) + bytes(6) + payload


def pcap(
    packets: Iterable[bytes], link: int = 101, order: str = "<", magic: int = 0xA1B2C3D4
) -> bytes:
    data = struct.pack(f"{order}IHHIIII", magic, 2, 4, 0, 0, MAX_PACKET, link)
    for packet in packets:
        data += struct.pack(f"{order}IIII", 0, 0, len(packet), len(packet)) + packet
    return data


def shown(
    schema: Schema, capture: bytes, *, port: int | None = PORT, step: int = 1 << 16
) -> tuple[list[str], str]:
    """Return the titles and notes that are shown of a capture, and the summary at its end."""
    lines: list[str] = []
    pieces = (capture[at : at + step] for at in range(0, len(capture), step))
    try:
        for line in explain_capture(schema, pieces, port=port):
            if line and line[0] != " ":
                lines.append(line)
    except (BrokenStream, Unreadable) as error:
        return lines, str(error)
    return lines, ""


def frames(lines: Iterable[str]) -> list[str]:
    """Return the messages that were shown, with their senders."""
    return [
        f"{match[2]} {match[1]}"
        for line in lines
        if (match := re.search(r": (\w+), sent by (\w+)$", line))
    ]


@pytest.mark.parametrize("form", ["pcap", "nsecpcap", "pcapng"])
@pytest.mark.parametrize(
    "headers",
    ["-T 5000,7000", "-u 5000,7000", "-T 5000,7000 -6 fe80::1,fe80::2", "-l 147", "-l 162"],
    ids=["tcp", "udp", "ipv6", "USER0", "USER15"],
)
def test_output_of_text2pcap_is_read(form: str, headers: str, run: Run, tmp_path: Path) -> None:
    if not shutil.which("text2pcap"):
        pytest.skip("text2pcap is not installed")
    dump, capture = tmp_path / "dump", tmp_path / "capture"
    dump.write_text(f"0000 {PING.hex(' ')}\n\n0000 {(OUTPUT + PONG).hex(' ')}\n")
    words = f"text2pcap -q -F {form} {headers} {dump} {capture}".split()
    subprocess.run(words, check=True, capture_output=True)
    result = run("explain", capture)
    assert result.exit_code == 0, result.stderr
    assert frames(result.stdout.splitlines()) == ["host ping", "guest exec_output", "guest pong"]


@pytest.mark.parametrize("order", ["<", ">"], ids=["little", "big"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D], ids=["us", "ns"])
@pytest.mark.parametrize(
    ("link", "head"),
    [
        (0, "02000000"),
        (1, "000000000001 000000000002 0800"),
        (1, "000000000001 000000000002 88a8 0001 8100 0002 0800"),
        (12, ""),
        (101, ""),
        (108, "00000002"),
        (113, "0000 0304 0006 000000000000 0000 0800"),
        (228, ""),
        (276, "0800 0000 00000001 0304 00 06 0000000000000000"),
    ],
    ids=["null", "ethernet", "vlan", "bare", "raw", "loop", "cooked", "ipv4", "cooked2"],
)
def test_link_types_are_read(link: int, head: str, order: str, magic: int, schema: Schema) -> None:
    packets = [bytes.fromhex(head) + udp(PING), bytes.fromhex(head) + tcp(PING, 1)]
    lines, said = shown(schema, pcap(packets, link, order, magic), step=7)
    assert (frames(lines), said) == (["host ping"] * 2, "")
    title = "frame 1, at 0 of 10.0.0.1:5000 > 10.0.0.2:7000, packet 1: ping, sent by host"
    assert lines[0] == title


def test_ends_of_ipv6_are_named(schema: Schema) -> None:
    packet = ipv6(struct.pack(">HHHH", PORT, 5000, 8 + len(PONG), 0) + PONG)
    lines, said = shown(schema, pcap([packet], 229))
    assert (lines, said) == (
        ["frame 1, at 0 of [::1]:7000 > [::2]:5000, packet 1: pong, sent by guest"],
        "",
    )


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_segments_in_any_order_are_put_together(data: st.DataObject, schema: Schema) -> None:
    stream = (PING + OUTPUT) * 3
    first = data.draw(st.sampled_from([0, 1 << 31, (1 << 32) - 300]))
    cuts = data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=8))
    bounds = sorted({0, *cuts, len(stream)})
    pieces = list(pairwise(bounds))
    again = data.draw(st.lists(st.tuples(st.integers(0, 300), st.integers(301, 600)), max_size=3))
    order = data.draw(st.permutations(pieces + again))
    packets = [tcp(b"", first, flags=SYN)]
    packets += [tcp(stream[start:end], first + 1 + start) for start, end in order]
    lines, said = shown(schema, pcap(packets), port=None)
    assert (frames(lines), said) == (["host ping", "guest exec_output"] * 3, "")


def test_ports_identify_the_sender(schema: Schema) -> None:
    packets = [tcp(PING, 1), tcp(PONG, 1, back=True), tcp(PING, 1, back=True, client=5001)]
    lines, said = shown(schema, pcap(packets))
    assert frames(lines) == ["host ping", "guest pong"]
    assert said == "1 of 3 flows have errors"
    assert shown(schema, pcap(packets), port=None)[1] == ""
    _, said = shown(schema, pcap(packets), port=9)
    assert said == "none of the 0 flows of port 9 contains a frame"


def test_packets_of_other_protocols_are_ignored(schema: Schema) -> None:
    packets = [tcp(FOREIGN, 1), tcp(FOREIGN * 9, 19), udp(FOREIGN), tcp(PING, 1, client=5001)]
    lines, said = shown(schema, pcap(packets), port=None)
    assert (frames(lines), len(lines), said) == (["host ping"], 1, "")
    lines, said = shown(schema, pcap(packets[:3]), port=None)
    assert (lines, said) == ([], "none of the 2 flows contains a frame")
    lines, said = shown(schema, pcap(packets))
    assert said == "2 of 3 flows have errors"


@pytest.mark.parametrize("acknowledged", [True, False])
def test_gap_is_reported_and_next_frame_is_found(acknowledged: bool, schema: Schema) -> None:
    start = len(OUTPUT) + 100
    packets = [tcp(OUTPUT + OUTPUT[:50], 1), tcp(OUTPUT[100:], 1 + start)]
    packets += [tcp(PING, 1 + 2 * len(OUTPUT))]
    if acknowledged:
        # This shows at once that the rest is missing.
        packets.append(tcp(b"", 1, ack=1 + 2 * len(OUTPUT), back=True))
    packets.append(tcp(PING, 1 + 2 * len(OUTPUT) + 20))
    lines, said = shown(schema, pcap(packets), port=None)
    assert frames(lines) == ["guest exec_output", "host ping", "host ping"]
    assert [line.partition(": ")[2] for line in lines if "frame 1" not in line][:2] == [
        f"the capture lacks 50 bytes from offset {start - 50}",
        f"no segment begins with a frame from offset {len(OUTPUT)} to {2 * len(OUTPUT)}",
    ]
    assert said == "1 of 1 flows have errors"


def test_stream_without_its_start_is_shown_from_first_frame(schema: Schema) -> None:
    packets = [tcp(OUTPUT[40:], 41), tcp(PING, 1 + len(OUTPUT))]
    lines, said = shown(schema, pcap(packets))
    assert frames(lines) == ["host ping"]
    assert lines[0].endswith(f"no segment begins with a frame from offset 0 to {len(OUTPUT) - 40}")
    assert said == ""


def test_segment_after_a_malformed_frame_begins_with_a_frame(schema: Schema) -> None:
    packets = [tcp(b"", 0, flags=SYN), tcp(PING + NO_FRAME, 1), tcp(FOREIGN, 41), tcp(PING, 59)]
    lines, said = shown(schema, pcap(packets))
    assert frames(lines) == ["host ping", "host ping"]
    assert lines[1].startswith("frame 2, at 20 of")
    assert lines[2].endswith("no segment begins with a frame from offset 20 to 58")
    assert lines[3].startswith("frame 3, at 58 of")
    assert said == "1 of 1 flows have errors"


def test_a_connection_of_the_same_ports_is_another(schema: Schema) -> None:
    packets = [tcp(b"", 0, flags=SYN), tcp(PING[:9], 1), tcp(b"", 0, flags=SYN), tcp(PING[9:], 10)]
    packets += [tcp(b"", 7, flags=SYN), tcp(PING[:9], 8)]
    lines, said = shown(schema, pcap(packets))
    assert [line.partition(" of ")[0] for line in lines] == ["frame 1, at 0", "frame 1, at 0"]
    assert said == "1 of 2 flows have errors"


def test_datagrams_are_decoded_independently(schema: Schema) -> None:
    lines, said = shown(schema, pcap([udp(PING + PING[:7]), udp(PING), udp(NO_FRAME), udp(PING)]))
    assert frames(lines) == ["host ping"] * 3
    assert said == "1 of 1 flows have errors"


@pytest.mark.parametrize("framing", ['kind = "datagram"', 'kind = "cobs"\ncheck = "crc16"'])
def test_reading_continues_after_bad_frame_if_framed(framing: str, framed: Read) -> None:
    schema = framed(framing)
    good = schema.framing.wire(write(schema, 3, 7, bytes([1, 0, 0, 1])))
    bad = bytes([1, 1, 1, 0])
    for packet in (udp, lambda data: tcp(data, 1)):
        lines, said = shown(schema, pcap([packet(bad), packet(FOREIGN)]), port=None)
        assert (lines, said) == ([], "none of the 1 flows contains a frame")
    lines, said = shown(schema, pcap([udp(good), udp(bad), udp(good)]), port=None)
    assert frames(lines) == ["device measured"] * 2
    assert lines[1].startswith(f"frame 2, at {len(good)} of")
    assert said == "1 of 1 flows have errors"


def test_ignored_packets_are_counted(schema: Schema) -> None:
    packets = [udp(PING), ipv4(17, bytes(20), 0x2000), ipv4(17, bytes(20), 1), b"\x45\0", b""]
    lines, said = shown(schema, pcap(packets))
    assert lines[1:] == [
        "ignored packets (IP fragments): 2",
        "ignored packets (truncated header): 2",
    ]
    assert said == ""
    lines, said = shown(schema, pcap(packets, 189))
    assert lines == ["ignored packets (link type 189): 5"]
    assert said.startswith("none of the ")


def test_number_of_waiting_segments_is_bounded(schema: Schema) -> None:
    """The number of flows is bounded, too, and captures may lack acknowledgements."""
    gap = 10
    packets = [tcp(PING, 1)]
    packets += [tcp(bytes(1000), 21 + gap + 1000 * n) for n in range(MAX_WAITING // 1000 + 1)]
    lines: list[str] = []
    for line in explain_capture(schema, iter([pcap(packets)]), port=PORT):
        lines.append(line)
        if line.endswith(f"the capture lacks {gap} bytes from offset 20"):
            break
    else:
        pytest.fail("it waits for the end")
    packets = [tcp(PING, 1, client=1 + n) for n in range(MAX_FLOWS + 1)] + [tcp(PING, 21, client=1)]
    lines, said = shown(schema, pcap(packets))
    assert (len(frames(lines)), said) == (MAX_FLOWS + 2, "")
    assert lines[-1].startswith("frame 1, at 0 of 10.0.0.1:1 ")


@pytest.mark.parametrize("cut", [1, 17, 30])
def test_a_file_that_is_cut_short_is_shown_to_there(cut: int, run: Run, tmp_path: Path) -> None:
    (tmp_path / "cut").write_bytes(pcap([tcp(PING, 1), tcp(PING, 21)])[:-cut])
    result = run("explain", tmp_path / "cut")
    assert frames(result.stdout.splitlines()) == ["host ping"]
    assert result.exit_code == 1
    assert result.stderr.endswith(" is a capture that ends in the middle of a packet\n")


def pcapng() -> bytes:
    """Return a section with an interface, and packets of each kind."""
    packet = udp(PING)
    bodies = [
        (0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        (1, struct.pack("<HHI", 101, 0, 0)),
        (6, struct.pack("<IIIII", 0, 0, 0, len(packet), len(packet)) + packet),
        (3, struct.pack("<I", len(packet)) + packet),
        (2, struct.pack("<HHIIII", 0, 0, 0, 0, len(packet), len(packet)) + packet),
        (5, bytes(12)),
    ]
    return b"".join(
        struct.pack("<II", kind, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))
        for kind, body in bodies
    )


def test_packets_of_each_kind_of_block_are_read(schema: Schema) -> None:
    lines, said = shown(schema, pcapng() * 2, step=5)
    assert (frames(lines), said) == (["host ping"] * 6, "")


@given(
    capture=st.sampled_from([pcapng(), pcap([tcp(PING, 1), udp(PING), ipv6(udp(PING)[20:])])]),
    changes=st.lists(st.tuples(st.integers(4, 400), st.integers(0, 255)), min_size=1, max_size=5),
    end=st.integers(4, 400),
)
@example(capture=pcap([]), changes=[], end=400)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_capture_is_shown_or_refused(
    capture: bytes, changes: list[tuple[int, int]], end: int, schema: Schema
) -> None:
    damaged = bytearray(capture)
    for at, byte in changes:
        if at < len(damaged):
            damaged[at] = byte
    with contextlib.suppress(BrokenStream, Unreadable):
        for line in explain_capture(schema, iter([bytes(damaged[:end])])):
            assert line.isascii()
