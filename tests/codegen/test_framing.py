"""Tests of every framing: both receivers handle any stream like the reference."""

from __future__ import annotations

import ctypes
import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import ModuleType

import pytest
from tests.support import vectors
from tests.support.emitted import emitted, library

from microvm_proto.breaking import Comparison, Verdict
from microvm_proto.frame import write
from microvm_proto.framing import CHECKS, stuff, unstuff
from microvm_proto.released import canonical
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema
from microvm_proto.stream import FrameReceiver

from . import test_backends, test_wireshark
from .common import GROWN, Generated, Load

LONG = '[[message]]\nname = "blob"\nnumber = 201\nsender = "both"\nid = "none"\nsince = 2\n'
LONG += '[[message.field]]\nname = "data"\ntype = "tail"\nmax = MAX\n'

FRAMINGS = {
    "cobs": 'kind = "cobs"\ntype = "u8"\nid = "u16"\nsequence = true\ncheck = "crc16"\n',
    "unchecked cobs": 'kind = "cobs"\n',
    "stream": 'kind = "stream"\nsequence = true\ncheck = "crc32c"\n',
    "short stream": 'kind = "stream"\ntype = "u8"\nid = "u8"\nlength = "u16"\ncheck = "crc16"\n',
    "unchecked stream": 'kind = "stream"\nid = "u16"\nlength = "u16"\n',
    "datagram": 'kind = "datagram"\nid = "u8"\nsequence = true\ncheck = "crc32c"\n',
    "unchecked datagram": 'kind = "datagram"\ntype = "u8"\n',
}
TABLES = ", by tables"
"""Suffix of the names of framings that use the other style in both languages."""

FRAMINGS |= {f"{name}{TABLES}": FRAMINGS[name] for name in ("cobs", "unchecked datagram")}
ALL = [
    pytest.param(name, marks=[pytest.mark.thorough] * (name not in ("cobs", "stream", "datagram")))
    for name in FRAMINGS
]
"""The names of framings. Each needs a compilation, so only three are tested each time."""

RESYNCHRONISING = [each for each in ALL if each.values != ("unchecked stream",)]
CHECKED = [
    each
    for each, (name, text) in zip(ALL, FRAMINGS.items(), strict=True)
    if "check" in text and TABLES not in name
]

SHIM = """
#include "protocol.h"

static struct {p}_receiver r;
{room}

/* A receiver of an end with the least room for that: nothing is written behind it. */
void start(int sender, uint32_t version)
{{
	for (size_t i = 0; i < sizeof room; i++)
		room[i] = 0xa5;
	{p}_receiver_init(&r, (enum {p}_end)sender, version{given});
}}

static bool is_untouched(void)
{{
	const size_t from = r.sender == 1 ? {first} : {second};

	for (size_t i = from; i < sizeof room; i++)
		if (room[i] != 0xa5)
			return false;
	return true;
}}

/* A message is encoded again, into `out` behind its size. */
static size_t again(uint8_t *out, uint32_t version)
{{
	uint8_t *at = out + 4;
	size_t room = 4096, size = 0;

	switch (r.header.type) {{
{cases}	}}
	{p}_put(out, 4, size);
	return 4 + size;
}}

size_t receive(const uint8_t *data, size_t size, uint8_t *out)
{{
	uint8_t *at = out;

{loop}
	return (size_t)(at - out);
}}

void counts(uint32_t *to)
{{
	const uint32_t found[] = {{ r.frames, r.bad, {foreign}, r.skipped, {lost},
		(uint32_t)r.fault.fault, r.fault.offset, r.fault.field }};

	for (int i = 0; i < 8; i++)
		to[i] = is_untouched() ? found[i] : 0xffffffff;
}}
"""
WHOLE = """	if ({p}_receive(&r, data, size))
		at += again(at, r.version);"""
BYTES = """	for (size_t i = 0; i < size; i++)
		for (bool more = {p}_receive(&r, data[i]); more; more = {next})
			at += again(at, r.version);"""

Received = tuple[list[bytes], list[int], tuple[int, int, int] | None]
"""Received frames, encoded again; the counts; and fault, offset and field of the last error."""


@dataclass(frozen=True)
class FramedEnds:
    """A schema and its receivers."""

    schema: Schema
    codec: ModuleType
    library: ctypes.CDLL
    vectors: Path

    def by_c(self, pieces: Iterable[bytes], sender: str, version: int = 0) -> Received:
        self.library.start(self.schema.ends.index(sender) + 1, version or self.schema.version)
        self.library.receive.restype = ctypes.c_size_t
        frames = []
        for piece in pieces:
            out = ctypes.create_string_buffer(32 * len(piece) + 8192)
            size = self.library.receive(piece, ctypes.c_size_t(len(piece)), out)
            data = out.raw[:size]
            while data:
                end = 4 + int.from_bytes(data[:4], "little")
                frames.append(data[4:end])
                data = data[end:]
        found = (ctypes.c_uint32 * 8)()
        self.library.counts(found)
        fault, offset, field = found[5:]
        return frames, found[:5], (fault, offset, field) if fault else None

    def unnumbered(self, received: Received) -> Received:
        """Return the result with the number 0 in each frame, as Python encodes them again."""
        framing = self.schema.framing
        frames = []
        for frame in received[0]:
            bare = bytearray(frame)
            if framing.kind == "cobs":
                bare = bytearray(unstuff(frame[:-1], 1 << 16) or b"")
            seed = framing.seed_of(bytes(bare)) if framing.check_size else 0
            end = len(bare) - framing.check_size
            if framing.sequence:
                bare[framing.offset("sequence")] = 0
            frames.append(framing.wire(framing.seal(bytes(bare[:end]), seed)))
        return frames, *received[1:]

    def by_python(self, pieces: Iterable[bytes], sender: str, version: int = 0) -> Received:
        decoder = self.codec.Decoder(sender, version or self.schema.version)
        frames = []
        for piece in pieces:
            decoder.receive_data(piece)
            while (message := decoder.next_message()) is not None:
                frames.append(message.encode(decoder.version))
        names = ("frames", "bad", "foreign", "skipped", "lost")
        error = decoder.error
        return (
            frames,
            [getattr(decoder, name, 0) for name in names],
            (error.fault, error.offset, error.field_number) if error else None,
        )

    def by_reference(self, pieces: Iterable[bytes], sender: str, version: int = 0) -> Received:
        framing = self.schema.framing
        receiver = FrameReceiver(self.schema, sender, version or None)
        datagram = framing.kind == "datagram"
        found = [
            piece
            for data in (pieces if datagram else [b"".join(pieces)])
            for piece in receiver.receive(data)
        ]
        errors = [piece.error for piece in found if piece.error]
        return (
            [framing.wire(piece.frame) for piece in found if not piece.error],
            list(astuple(receiver.counts)),
            (errors[-1].fault.number, errors[-1].offset, errors[-1].number) if errors else None,
        )


MakeEnds = Callable[[str], FramedEnds]


def shim(schema: Schema) -> str:
    """Return the source of the program around a generated header."""
    p, framing = schema.name, schema.framing
    cases = ""
    for message in schema.messages:
        arguments = ["at", "room", "version"]
        arguments += ["r.header.sequence"] if framing.sequence else []
        arguments += ["r.header.id"] if message.id != "none" else []
        arguments += [f"&r.body.{message.c_name}"] if message.visible else []
        call = f"{p}_encode_{message.c_name}({', '.join(arguments)})"
        cases += f"\tcase {message.number}:\n\t\tsize = {call};\n\t\tbreak;\n"
    first, second = (framing.bare_size(schema.max_body_from(end)) for end in schema.ends)
    more = f"{p}_receive_more(&r)" if framing.kind == "stream" else "false"
    return SHIM.format(
        p=p,
        room=f"static uint8_t room[{max(first, second) + 64}];",
        first=first,
        second=second,
        given="" if framing.kind == "datagram" else ", room",
        cases=cases,
        loop=(WHOLE if framing.kind == "datagram" else BYTES).format(p=p, next=more),
        foreign="r.foreign" if framing.check_size else "0",
        lost="r.lost" if framing.sequence else "0",
    )


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory, load: Load) -> MakeEnds:
    """Generate and build a schema with a framing, once for each."""
    made: dict[str, FramedEnds] = {}

    def ends(name: str) -> FramedEnds:
        if name not in made:
            folder = tmp_path_factory.mktemp("framing")
            head, body = GROWN.read_text().split("\n[[", 1)
            # Runs of bytes without a zero have at most 254 bytes.
            longest = LONG.replace("MAX", "700" if "cobs" in name else "70")
            text = f"{head}\n[framing]\n{FRAMINGS[name]}\n[[{body}\n{longest}"
            (folder / "schema.toml").write_text(text)
            schema = read_schema(folder / "schema.toml")
            outputs = {"python": "codec.py", "c": "protocol.h", "vectors": "vectors.json"}
            styles = {"python": "plain", "c": "table"}
            for backend, file in outputs.items():
                style = styles.get(backend, "") if name.endswith(TABLES) else ""
                (folder / file).write_text(emitted(backend, schema, file, style)[file])
            (folder / "shim.c").write_text(shim(schema))
            made[name] = FramedEnds(
                schema,
                load(folder / "codec.py"),
                library(folder, "shim.so", "-O1"),
                folder / "vectors.json",
            )
        return made[name]

    return ends


def test_checks_are_those_of_their_names() -> None:
    for name, right in ("crc16", 0x29B1), ("crc32c", 0xE3069283):
        assert CHECKS[name].function(b"123456789") == right


@pytest.mark.parametrize("size", [0, 1, 2, 253, 254, 255, 256, 507, 508, 509])
@pytest.mark.parametrize("zeros", [0, 1, 2, 5])
def test_stuffing_is_undone_and_has_no_zero(size: int, zeros: int) -> None:
    random_ = random.Random(size + zeros)
    data = bytearray(b"\1" * size)
    for _ in range(zeros if size else 0):
        data[random_.randrange(size)] = 0
    stuffed = stuff(bytes(data))
    assert 0 not in stuffed
    assert len(stuffed) <= len(data) + max(1, -(-len(data) // 254))
    assert unstuff(stuffed, size) == bytes(data)


@pytest.mark.parametrize("name", ALL)
def test_decoders_agree_on_all_vectors(name: str, ends: MakeEnds) -> None:
    built = ends(name)
    final = not built.schema.framing.resynchronises
    for vector in vectors.load(built.vectors):
        by_c = built.by_c([vector.frame], vector.sender)
        if vector.fault is None:
            assert by_c == ([vector.frame], [1, 0, 0, 0, 0], None), vector.name
            decoder = built.codec.Decoder(vector.sender)
            decoder.receive_data(vector.frame)
            message = decoder.next_message()
            assert message.encode() == vector.frame, vector.name
            for field, value in vector.fields.items():
                assert getattr(message, field) == value, vector.name
            continue
        frames, counts, fault = by_c
        assert (frames, fault) == ([], vector.fault), vector.name
        assert counts[:2] == [0, 1], vector.name
        if not final:
            assert built.by_python([vector.frame], vector.sender) == by_c, vector.name


@pytest.mark.parametrize("name", RESYNCHRONISING)
def test_receivers_agree_on_streams(name: str, ends: MakeEnds) -> None:
    built = ends(name)
    data = json.loads(built.vectors.read_text())
    for vector in data["streams"]:
        pieces = [vectors.unpack(piece) for piece in vector["pieces"]]
        expected = built.by_reference(pieces, vector["sender"])
        assert expected[1] == vector["counts"], vector["name"]
        assert len(expected[0]) == len(vector["messages"])
        assert built.by_c(pieces, vector["sender"]) == expected, vector["name"]
        by_python = built.by_python(pieces, vector["sender"])
        assert by_python == built.unnumbered(expected), vector["name"]
    assert len(data["streams"]) > 20


@pytest.mark.parametrize("name", CHECKED)
def test_no_flipped_bit_makes_another_frame(name: str, ends: MakeEnds) -> None:
    built = ends(name)
    flipped = json.loads(built.vectors.read_text())["flipped"]
    assert {vector["sender"] for vector in flipped} == {*built.schema.ends}
    for vector in flipped:
        before = [vectors.unpack(piece) for piece in vector["before"]]
        behind = [vectors.unpack(piece) for piece in vector["behind"]]
        frame = vectors.unpack(vector["frame"])
        counts = itertools.chain.from_iterable(
            itertools.repeat(each, times) for each, times in vector["counts"]
        )
        for bit, expected in enumerate(counts):
            damaged = bytearray(frame)
            damaged[bit // 8] ^= 1 << bit % 8
            pieces = [*before, bytes(damaged), *behind]
            by_c = frames, found, _ = built.by_c(pieces, vector["sender"])
            assert built.by_python(pieces, vector["sender"]) == built.unnumbered(by_c)
            assert found == expected, (vector["name"], bit)
            right = [each.strip(b"\0") for each in (*before, *behind)]
            assert [each.strip(b"\0") for each in frames] == right, (vector["name"], bit)
        assert bit == 8 * len(frame) - 1


@pytest.mark.parametrize("name", CHECKED)
def test_noise_corrupts_no_frame_and_loses_only_hit_frames(name: str, ends: MakeEnds) -> None:
    built, random_, ahead = ends(name), random.Random(1), b"\0" if name == "cobs" else b""
    numbered = built.schema.framing.sequence
    sent, right = [], []
    for number in range(20_000):
        message = built.codec.Unchanged(1, number * 40_503 % (1 << 32))
        frame = message.encode(4, number) if numbered else message.encode()
        piece = bytearray(ahead + frame)
        for bit in range(8 * len(piece)):
            if random_.random() < 1e-3:
                piece[bit // 8] ^= 1 << bit % 8
        sent.append(bytes(piece))
        right += [frame] if piece == ahead + frame else []
    frames, (received, bad, _, _, lost), _ = built.by_c(sent, "left")
    assert frames == right
    assert received == len(right)
    assert bad > 1000
    assert not numbered or lost in range(len(sent) - len(right) - 3, len(sent) - len(right) + 1)


def noisy(random_: random.Random, frames: Sequence[bytes]) -> Iterator[bytes]:
    """A strategy of frames, some of them damaged, missing, cut or repeated, with noise between."""
    for frame in frames:
        piece = bytearray(frame)
        match random_.randrange(24):
            case 0:
                piece[random_.randrange(len(piece))] ^= 1 << random_.randrange(8)
            case 1:
                del piece[random_.randrange(len(piece)) :]
            case 2:
                piece.insert(random_.randrange(len(piece)), random_.randrange(256))
            case 3:
                piece += random_.choice([b"\0", b"\1\0", b"\xff" * 9, random_.randbytes(5)])
            case 4:
                piece *= 2
            case 5:
                continue
        yield bytes(piece)


def samples(built: FramedEnds, sender: str, random_: random.Random) -> list[bytes]:
    """A strategy of valid and invalid frames of a sender in any order."""
    known = [each for each in vectors.load(built.vectors) if len(each.frame) > 0]
    return [random_.choice(known).frame for _ in range(60)] + [
        random_.choice([each.frame for each in known if each.sender == sender and not each.fault])
        for _ in range(60)
    ]


@pytest.mark.parametrize("name", RESYNCHRONISING)
@pytest.mark.parametrize("seed", range(2))
def test_pieces_of_noise_do_not_change_the_result(name: str, seed: int, ends: MakeEnds) -> None:
    built, random_ = ends(name), random.Random(seed)
    for sender in built.schema.ends:
        frames = samples(built, sender, random_)
        random_.shuffle(frames)
        pieces = list(noisy(random_, frames))
        version = random_.randrange(1, built.schema.version + 1)
        expected = built.by_reference(pieces, sender, version)
        unnumbered = built.unnumbered(expected)
        assert version < built.schema.version or expected[1][0] > 10
        assert built.by_c(pieces, sender, version) == expected
        assert built.by_python(pieces, sender, version) == unnumbered
        if built.schema.framing.kind != "datagram":
            stream = b"".join(pieces)
            cuts = sorted(random_.randrange(len(stream)) for _ in range(len(stream) // 7))
            cut = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
            assert built.by_c(cut, sender, version) == expected
            assert built.by_python(cut, sender, version) == unnumbered


@pytest.mark.parametrize("name", ["cobs"])
def test_receivers_agree_on_a_bad_frame_in_each_version(name: str, ends: MakeEnds) -> None:
    built = ends(name)
    pieces = [b"\x40" + b"\1" * 63 + b"\xff\1\0"]
    for version in range(1, built.schema.version + 1):
        found = built.by_c(pieces, "left", version)
        assert found[2] == (16, 0, 0)
        assert built.by_python(pieces, "left", version) == found
        assert built.by_reference(pieces, "left", version) == found


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["cobs", "stream"])
def test_the_header_is_as_clean_as_without_framing(
    name: str, ends: MakeEnds, generated: Generated, tmp_path: Path
) -> None:
    schema = ends(name).schema.path
    for compiler in "gcc's analyzer", "clang++":
        test_backends.test_header_compiles_as_freestanding_c_and_as_cpp(
            schema, "protocol.h", test_backends.COMPILERS[compiler], generated, tmp_path
        )
    test_backends.test_the_linter_knows_the_constants_of_the_header(schema, generated)


@pytest.mark.thorough
@test_wireshark.needs_tshark
@pytest.mark.parametrize("name", ["cobs", "short stream", "datagram"])
def test_tshark_agrees_with_decoders(name: str, ends: MakeEnds, generated: Generated) -> None:
    schema = ends(name).schema
    over = "udp" if schema.framing.kind == "datagram" else "tcp"
    capture = test_wireshark.Capture()
    # Wireshark ignores an empty datagram.
    known = [each for each in vectors.load(ends(name).vectors) if each.frame]
    for vector in known:
        to_port = vector.sender == schema.ends[0]
        if over == "udp":
            capture.datagram(vector.frame, to_port=to_port)
        else:
            capture.connect(vector.frame, to_port=to_port, step=13)
    fields = ["type", "fault", "fault_offset", "fault_field", "check"]
    dissector = generated(schema.path) / "dissector.lua"
    found = test_wireshark.decoded("grown", dissector, capture, fields, over)
    for vector, values in zip(known, found, strict=True):
        fault = [int(values[field][0]) for field in fields[1:4] if values[field]]
        assert fault == list(vector.fault or ()), vector.name
        assert len(values["check"]) == (vector.fault is None), vector.name


def test_a_number_of_a_frame_is_the_next(ends: MakeEnds) -> None:
    codec = ends("cobs").codec
    encoder, decoder = codec.Encoder(), codec.Decoder("left")
    message = codec.Hello(0)
    for number in range(600):
        if number not in (300, 301):
            decoder.receive_data(encoder.encode(message))
            assert decoder.next_message() == message
        else:
            encoder.encode(message)
    assert (decoder.frames, decoder.bad, decoder.lost) == (598, 0, 2)


@pytest.mark.parametrize("name", ALL)
def test_the_released_form_has_the_framing(name: str, ends: MakeEnds) -> None:
    schema = ends(name).schema
    path = schema.path.with_name("released.toml")
    path.write_text(canonical(schema))
    released = read_schema(path)
    assert (released.framing, released.digest) == (schema.framing, schema.digest)
    assert canonical(released) == canonical(schema)


SEEDED = """
[protocol]
name = "seeded"
version = 1
ends = ["left", "right"]
prefix = "u8"

[framing]
kind = "cobs"
type = "u8"
id = "u8"
sequence = true
check = "crc32c"

[[enum]]
name = "mood"
type = "u8"
closed = false

[[enum.value]]
name = "calm"
number = 1

[[message]]
name = "heat"
number = 1
sender = "left"
id = "any"

[[message.field]]
name = "degrees"
type = "i16"
absent = -1
unit = "K"
scale = 0.5

[[message.field]]
name = "mood"
type = "mood"

[[message.field]]
name = "note"
type = "bytes"
max = 40
"""
OTHER_MEANINGS = [
    ('prefix = "u8"', 'prefix = "u16"'),
    ('id = "u8"\nsequence = true', 'id = "u16"'),
    ("absent = -1", "absent = -2"),
    ('unit = "K"', 'unit = "mK"'),
    ("scale = 0.5", "scale = 0.25"),
    ('name = "calm"\nnumber = 1', 'name = "calm"\nnumber = 2'),
    ('name = "calm"', 'name = "grim"'),
    ('name = "heat"', 'name = "cold"'),
    ('name = "note"', 'name = "title"'),
    ("max = 40", "max = 41"),
]
SAME_MEANINGS = [
    ('name = "seeded"', 'name = "other"'),
    ('ends = ["left"', 'doc = "Ends."\nreserved = [7]\nends = ["left"'),
    ('kind = "cobs"', 'kind = "cobs"\nmtu = 90'),
    ('"right"]', '"up"]'),
    ('name = "heat"', 'name = "heat"\nc_name = "warmth"\ndoc = "It."'),
    ('name = "mood"\ntype = "u8"', 'name = "mood"\nreserved = [8]\ntype = "u8"'),
]


def seeded(folder: Path, change: tuple[str, str] = ("", "")) -> Schema:
    """Return the schema above with a change."""
    assert change[0] in SEEDED
    (folder / "schema.toml").write_text(SEEDED.replace(*change, 1))
    return read_schema(folder / "schema.toml")


@pytest.mark.parametrize("change", OTHER_MEANINGS)
def test_frame_of_another_schema_counts_as_foreign(change: tuple[str, str], tmp_path: Path) -> None:
    schema, other = seeded(tmp_path), seeded(tmp_path, change)
    receiver = FrameReceiver(schema, "left")
    for _ in range(3):
        frame = other.framing.wire(write(other, 1, 0, bytes(5)))
        (piece,) = receiver.receive(frame)
        assert piece.error is not None
        assert piece.error.fault.name == "bad_check"
    assert (receiver.counts.bad, receiver.counts.foreign) == (3, 2)
    assert schema.digest != other.digest


@pytest.mark.parametrize("change", [*OTHER_MEANINGS, *SAME_MEANINGS])
def test_changed_meaning_is_incompatible(change: tuple[str, str], tmp_path: Path) -> None:
    released = tmp_path / "released.toml"
    released.write_text(canonical(seeded(tmp_path)))
    verdict = Comparison(seeded(tmp_path, change).path, released).verdict
    assert (verdict is Verdict.INCOMPATIBLE) == (change in OTHER_MEANINGS)


def test_schema_lists_the_seeds_of_older_versions(ends: MakeEnds, tmp_path: Path) -> None:
    schema = ends("stream").schema
    assert len({seed for _, seed in schema.seeds}) == schema.version
    for version in range(1, schema.version + 1):
        path = tmp_path / "older.toml"
        path.write_text(canonical(schema.at(version)))
        assert read_schema(path).seeds == schema.seeds[:version]


@pytest.mark.parametrize("check", ["crc16", "crc32c"])
def test_three_flipped_bits_are_detected(check: str, load: Load, tmp_path: Path) -> None:
    head = '[protocol]\nname = "p"\nversion = 1\nends = ["a", "b"]\n[framing]\nkind = "datagram"\n'
    text = f'{head}type = "u8"\nid = "none"\ncheck = "{check}"\n'
    for number in range(1, 25):
        text += (
            f'[[message]]\nname = "m{number}"\nnumber = {number}\nsender = "both"\nid = "none"\n'
        )
        text += '[[message.field]]\nname = "data"\ntype = "tail"\nmax = 1000\n'
    (tmp_path / "schema.toml").write_text(text)
    code = emitted("python", read_schema(tmp_path / "schema.toml"), "codec.py")["codec.py"]
    (tmp_path / "codec.py").write_text(code)
    codec, random_ = load(tmp_path / "codec.py"), random.Random(1)
    decoder = codec.Decoder("a")
    flips = [1 << one | 1 << other for one in range(8) for other in range(one + 1)]
    for size, number in itertools.product((0, 3, 881) if check == "crc16" else (3,), range(1, 25)):
        frame = getattr(codec, f"M{number}")(b"x" * size).encode()
        for flip in flips:
            damaged = bytearray(frame)
            damaged[0] ^= flip
            decoder.receive_data(bytes(damaged))
            assert decoder.next_message() is None
            damaged[random_.randrange(1, len(frame))] ^= 1 << random_.randrange(8)
            decoder.receive_data(bytes(damaged))
            assert decoder.next_message() is None
        decoder.receive_data(frame)
        assert decoder.next_message() is not None
