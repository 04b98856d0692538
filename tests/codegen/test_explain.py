"""Tests of `microvm-proto explain` with valid frames, invalid frames, and other data."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import vectors

from microvm.wire import codec
from microvm_proto.cli import main
from microvm_proto.explain import BrokenStream, explain
from microvm_proto.faults import FAULTS
from microvm_proto.frame import write
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import ROOT, TYPES, Generated, Read, Run, failure

pytestmark = pytest.mark.usefixtures("in_project")

DOCS = ROOT / "docs/protocol-tools.md"
PING = codec.Ping(42).encode()
CREDIT = codec.ExecCredit(7, codec.Stream.STDERR, 1 << 20).encode()
NAMES = {fault.number: fault for fault in FAULTS}
PRINTABLE = set(string.printable) - set("\t\r\v\f")
Tested = tuple[Schema, list[vectors.Vector]]
ROW = re.compile(r" *(\d+)  ((?:[0-9a-f]{2} )*)")


@pytest.fixture(params=["protocol/sandboxd.toml", "tests/codegen/schemas/types.toml"])
def tested(request: pytest.FixtureRequest, generated: Generated) -> Tested:
    """A schema and its vectors."""
    path = ROOT / request.param
    return read_schema(path), vectors.load(generated(path) / "vectors.json")


def lines_of(
    schema: Schema,
    data: bytes,
    sender: str | None = None,
    *,
    colour: bool = False,
    step: int = 1000,
) -> tuple[list[str], bool]:
    """Return the explanation of a stream, and True if the stream is valid."""
    lines: list[str] = []
    pieces = (data[at : at + step] for at in range(0, len(data), step))
    try:
        for line in explain(schema, pieces, sender, colour=colour):
            lines.append(line)
    except BrokenStream:
        return lines, False
    return lines, True


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_explain_shows_every_byte_of_each_valid_vector(tested: Tested) -> None:
    schema, known = tested
    senders = {message.name: message.sender for message in schema.messages}
    for vector in known:
        if vector.fault is None and len(vector.frame) < 100:
            lines, right = lines_of(schema, vector.frame, vector.sender)
            assert right, vector.name
            title, *rows = lines
            sender = senders[vector.message].replace("both", "either side")
            assert title == f"frame 1, at 0: {vector.message}, sent by {sender}"
            at = 0
            for row in filter(None, rows):
                found = ROW.match(row + " ")
                assert found, row
                assert int(found[1]) == at, row
                shown = bytes.fromhex(found[2])
                assert vector.frame[at : at + len(shown)] == shown, row
                at += len(shown)
                if " ..." in row:
                    break
            else:
                assert at == len(vector.frame), vector.name


def test_caret_is_below_first_wrong_byte_of_invalid_vectors(tested: Tested) -> None:
    schema, known = tested
    for vector in known:
        if vector.fault is not None:
            code, offset, _ = vector.fault
            lines, right = lines_of(schema, vector.frame, vector.sender)
            assert not right, vector.name
            (at,) = (number for number, line in enumerate(lines) if "^^" in line)
            row, caret = ROW.match(lines[at - 1] + " "), lines[at].index("^")
            name = NAMES[code].name
            assert row, lines[at - 1]
            assert int(row[1]) + (caret - row.start(2)) // 3 == offset, vector.name
            assert lines[at].endswith(f"^^ {name}")
            assert lines[-2] == f"          {name} ({code}) at {offset}: {NAMES[code].doc}"
            assert lines[-1].startswith("          expected "), vector.name


@pytest.mark.parametrize("colour", [False, True])
def test_bytes_of_frames_are_escaped_for_the_terminal(schema: Schema, colour: bool) -> None:
    hostile = bytes(range(256)) + b"\x1b]0;title\x07\x1b[2J\x9b31m\xc2\x9b31m"
    frames = [
        codec.ExecOutput(1, codec.Stream.STDOUT, hostile[at : at + 40]).encode()
        for at in range(0, len(hostile), 40)
    ]
    frames += [codec.Resume(0, b"\x1b[2J" * 8).encode(), b"\x1b[2J" * 20]
    for data in (b"".join(frames), *frames):
        shown = "\n".join(lines_of(schema, data, colour=colour)[0])
        assert ("\x1b" in shown) is colour
        assert set(plain(shown)) <= PRINTABLE


@given(
    number=st.integers(0, 30),
    id_=st.integers(0, 1),
    body=st.binary(max_size=60),
    behind=st.binary(max_size=30),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_bytes_are_explained(
    schema: Schema, number: int, id_: int, body: bytes, behind: bytes
) -> None:
    data = write(schema, number, id_, body) + behind
    lines, right = lines_of(schema, data)
    assert right or lines
    assert set("".join(lines)) <= PRINTABLE


def test_values_are_readable(run: Run) -> None:
    result = run("explain", CREDIT.hex())
    assert result.exit_code == 0
    assert result.stdout.splitlines()[2:6] == [
        "       4  16 00                        type             22 (exec_credit)",
        "       6  00 00                        flags            0",
        "       8  07 00 00 00                  id               7",
        "      12  02                           stream           2 (stderr)",
    ]
    assert result.stdout.splitlines()[6].endswith("amount           1048576 (0x100000)")
    argv = (b"sh", b"-c", b'echo "\xe2\x82\xac"\n', *[b"x" * 100] * 20)
    request = codec.ExecRequest(
        1, b"sh", b"", argv, (), 0, 0, b"", codec.StdinKind.NULL, 0, 0, 0, 0
    )
    shown = run("explain", request.encode().hex()).stdout
    assert "argv             23 items\n" in shown
    assert r'argv[2]          "echo \"\xe2\x82\xac\"\n"' in shown
    assert f'argv[7]          "{"x" * 48}"... 100 bytes' in shown
    assert "argv[8]" not in shown
    assert shown.count("\n") < 40


@pytest.mark.parametrize(
    "given",
    [
        [PING.hex()],
        [PING.hex().upper()],
        [PING.hex(" ")],
        PING.hex(" ").split(),
        PING.hex(" ", 4).split(),
        ["raw"],
        ["text"],
    ],
    ids=["digits", "capitals", "spaces", "words", "groups", "raw", "text"],
)
def test_a_frame_is_given_in_many_ways(given: list[str], run: Run, tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(PING)
    (tmp_path / "text").write_text(PING.hex(" ", 4) + "\n")
    given = [str(tmp_path / word) if word in ("raw", "text") else word for word in given]
    assert "token            42" in run("explain", *given).stdout


@pytest.mark.parametrize("data", [PING * 3 + CREDIT, (PING * 3 + CREDIT).hex().encode()])
def test_a_stream_is_shown_frame_by_frame(data: bytes) -> None:
    result = CliRunner().invoke(main, ["explain", "-"], input=data)
    assert re.findall("^frame.*", result.stdout, re.MULTILINE) == [
        "frame 1, at 0: ping, sent by host",
        "frame 2, at 20: ping, sent by host",
        "frame 3, at 40: ping, sent by host",
        "frame 4, at 60: exec_credit, sent by host",
    ]
    assert result.exit_code == 0


def test_explain_stops_after_malformed_frame_without_framing(run: Run) -> None:
    result = run("explain", (PING + b"\xff" * 12 + PING).hex())
    assert result.exit_code == 1
    assert result.stderr == "microvm-proto: frame 2 is malformed: unknown_type\n"
    assert "frame 3" not in result.stdout


@pytest.mark.parametrize("size", [1, 11, 12, 19])
def test_incomplete_frame_shows_number_of_missing_bytes(size: int, run: Run) -> None:
    result = run("explain", (PING + PING[:size]).hex())
    missing = (12 if size < 12 else 20) - size
    more, rest = f"{missing} more bytes are", f"{missing} bytes are"
    if missing == 1:
        more, rest = "1 more byte is", "1 byte is"
    assert result.exit_code == 1
    assert result.stderr == f"microvm-proto: frame 2 is incomplete: {more} needed\n"
    assert f"{rest} missing\n" in result.stdout


@pytest.mark.parametrize("step", [1, 50])
@pytest.mark.parametrize("kind", ["cobs", "stream"])
def test_explain_continues_after_bad_frame_if_framed(kind: str, step: int, framed: Read) -> None:
    keys = f'kind = "{kind}"\ncheck = "crc16"\nsequence = true'
    schema = framed(keys)
    sent = [
        schema.framing.wire(write(schema, 3, 7, bytes([number, 0, 0, 1]), sequence=number))
        for number in range(5)
    ]
    flipped = bytes(byte ^ 16 * (at == 6) for at, byte in enumerate(sent[1]))
    stream = b"".join([sent[0], flipped, *sent[3:]])
    lines, right = lines_of(schema, stream, step=step)
    assert not right
    assert [line.partition("value")[2].split()[0] for line in lines if " value" in line] == [
        str(1 << 24 | number) for number in (0, 3, 4)
    ]
    assert "2 frames are lost, according to the sequence numbers" in lines
    with pytest.raises(BrokenStream, match="frame 2 is incomplete"):
        list(explain(schema, [sent[0] + sent[1][:-1]]))
    with pytest.raises(BrokenStream):
        list(explain(schema, [b"\xff" * 1000]))


def test_file_is_read_as_one_datagram(framed: Read) -> None:
    schema = framed('kind = "datagram"')
    data = write(schema, 3, 7, bytes([1, 0, 0, 1]))
    assert next(explain(schema, [data[:5], data[5:]])) == "frame 1, at 0: measured, sent by device"
    with pytest.raises(BrokenStream, match="1 of 1 frames are malformed"):
        list(explain(schema, [data * 2]))
    with pytest.raises(BrokenStream, match="exceeds a datagram"):
        list(explain(schema, [data] * 10_000))


def test_the_direction_is_checked_when_it_is_given(run: Run) -> None:
    assert run("explain", PING.hex(), "--from", "host").exit_code == 0
    result = run("explain", PING.hex(), "--from", "guest")
    assert result.exit_code == 1
    assert result.stderr == "microvm-proto: frame 1 is malformed: bad_direction\n"
    result = run("explain", PING.hex(), "--from", "moon")
    assert result.exit_code == 2
    assert "--from must be one of host and guest" in result.stderr


@pytest.mark.parametrize("given", ["zz", "000", "missing\x1b[2J", "f" * 4001, "."])
def test_invalid_input_is_reported_without_traceback(given: str, run: Run) -> None:
    result = run("explain", given)
    assert result.exit_code == 1
    assert result.stdout == ""
    head = f"microvm-proto: {given!a} is not hexadecimal, and not a readable file: "
    assert result.stderr.startswith(head)


def test_another_schema_can_be_given(run: Run) -> None:
    schema = "tests/codegen/schemas/empty_message.toml"
    result = run("explain", "00000000 ffff 0000 00000000", "--schema", schema)
    assert result.exit_code == 0
    assert result.stdout.startswith("frame 1, at 0: m, sent by either side\n")
    error = failure(run, "explain", "00", "--schema", "missing.toml")
    assert error.startswith("missing.toml:")
    assert error.endswith("microvm-proto: 1 error in missing.toml\n")


def documented() -> list[tuple[str, str]]:
    """Return the commands in the documentation with their documented output."""
    blocks = re.findall(
        r"^    \$ microvm-proto (explain .*)\n((?:    .*\n|\n)*)", DOCS.read_text(), re.MULTILINE
    )
    return [(command, re.sub("^    ", "", said, flags=re.MULTILINE)) for command, said in blocks]


def test_documented_explanations_are_the_output(run: Run) -> None:
    examples = documented()
    assert examples
    for command, said in examples:
        assert run(*command.split()).output.rstrip() == said.rstrip(), command


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scalars, the least", "0 (false) | 0x0 (none) | -32768 (absent) | 0 (absent)"),
        ("scalars, the most", "0x83 (read, write, forever) | 32767 (327.67 degC)"),
        ("scalars.status, unknown bits", "0x7fffffee (0x7fffffee)"),
        ("structs, the most", "3.402823e+38 m | 4 (stuck) | 32767 (16383.5 mV) | 1 (true)"),
        ("floats.double, quiet NaN", "nan | 0"),
        ("texts.title, U+10FFFF", r'"\U0010ffff"'),
        ("lists.numbers, longest", "4 items | 65535"),
    ],
)
def test_a_value_is_shown_by_its_type(name: str, expected: str, generated: Generated) -> None:
    path = TYPES
    known = {each.name: each.frame for each in vectors.load(generated(path) / "vectors.json")}
    lines, right = lines_of(read_schema(path), known[name])
    assert right
    for value in expected.split(" | "):
        assert any(line.endswith(f" {value}") for line in lines), value


def test_a_unit_is_escaped_where_the_output_cannot_have_it(read: Read) -> None:
    heading = '[[message.field]]\nname = "heading"\ntype = "u16"\nunit = "°"\n'
    schema = read(
        '[protocol]\nname = "p"\nversion = 1\nends = ["a", "b"]\n'
        f'[[message]]\nname = "m"\nnumber = 1\nsender = "a"\nid = "none"\n{heading}'
    )
    frame = write(schema, 1, 0, b"\x5a\0").hex()
    for charset, unit in ("utf-8", "°"), ("ascii", "\\xb0"):
        runner = CliRunner(charset=charset)
        result = runner.invoke(main, ["explain", "--schema", str(schema.path), frame])
        assert f"heading          90 {unit}\n" in result.stdout


GREETING = codec.Hello(3, 1, 1, 1).encode() + codec.Ready(3, 1, 1, 1).encode()
FAILED = codec.ExecFailed(7, codec.Stage.EXEC, 2).encode()


def test_first_message_out_of_order_is_named(run: Run) -> None:
    pong = codec.Pong(42).encode()
    result = run("explain", (GREETING + PING + pong * 3 + PING).hex())
    fault = "frame 5, at 128: `pong` is out of order, because no `ping` is unanswered"
    assert result.exit_code == 1
    assert result.stderr == f"microvm-proto: {fault}\n"
    assert [line.strip() for line in result.stdout.splitlines() if "out of order" in line] == [
        fault
    ]
    assert result.stdout.index("frame 5, at 128: pong") < result.stdout.index(fault)
    assert result.stdout.index(fault) < result.stdout.index("frame 7")
    result = run("explain", (GREETING + PING + pong * 2).hex() + "ff" * 12)
    assert result.stderr == f"microvm-proto: {fault}; frame 6 is malformed: unknown_type\n"


def test_order_is_checked_from_the_middle_and_of_one_side(schema: Schema) -> None:
    pong = codec.Pong(42).encode()
    for sender in (None, "guest"):
        assert lines_of(schema, pong * 2 + FAILED + pong, sender)[1]
        assert lines_of(schema, GREETING[44:] + pong * 2 + FAILED, sender)[1]
        lines, right = lines_of(schema, pong + FAILED + FAILED, sender)
        assert not right
        assert (
            lines[-2]
            .strip()
            .startswith("frame 3, at 41: `exec_failed` is out of order, because in the state")
        )
        assert "`ended` of `command`" in lines[-2]


def test_stream_of_both_sides_shows_earlier_faults(schema: Schema) -> None:
    """Two answers are in order if the stream is of one side, and not if it is of both."""
    pongs = GREETING[44:] + codec.Pong(42).encode() * 2
    assert lines_of(schema, pongs)[1]
    lines, right = lines_of(schema, GREETING + PING + pongs[44:] + CREDIT)
    assert not right
    assert "frame 5, at 128" in lines[-10]
