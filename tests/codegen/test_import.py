"""Tests of `microvm-proto import`: a schema from any definitions, and a list of omissions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .common import Run

PROBE = Path(__file__).parent / "mavlink/probe.xml"
LEFT_OUT = """\
left out: FAR: its number is 16777215, but the maximum is 65534
left out: HALF: its field a has the unknown type float16_t
left out: LONG: it has 256 bytes, but the maximum is 255
left out: PROBE_STATE_3D_SCAN: 300 does not fit u8
left out: PROBE_STATE_ON: 301 does not fit u8
left out: PROBE_PARTS_LIMBS: 32769 is not one bit
left out: PROBE_PARTS_WING: 65536 does not fit u16
left out: PROBE_PARTS_LEG: 32768 does not fit u8
left out: PROBE_PARTS_LIMBS: 32769 does not fit u8
left out: PROBE_PARTS_WING: 65536 does not fit u8
left out: PROBE_PARTS_LEG: 32768 does not fit i8
left out: PROBE_PARTS_LIMBS: 32769 does not fit i8
left out: PROBE_PARTS_WING: 65536 does not fit i8
left out: UNUSED_AGAIN: it is another name for 5
3 messages, 4 enums, 2 flags
"""


def test_everything_in_definitions_is_imported_or_reported(run: Run) -> None:
    result = run("import", "mavlink", PROBE)
    assert result.stdout == PROBE.with_suffix(".toml").read_text()
    assert result.stderr == LEFT_OUT


def test_schema_is_printed_or_written(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.toml"
    result = run("import", "mavlink", PROBE, "-o", path, "--name=other")
    assert result.stdout == f"wrote {path}\n"
    expected = PROBE.with_suffix(".toml").read_text()
    for name in ('name = "{}"', 'file = "{}.py"', 'file = "{}.h"'):
        expected = expected.replace(name.format("probe"), name.format("other"), 1)
    assert path.read_text() == expected


BILLION_LAUGHS = """<!DOCTYPE mavlink [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>
<mavlink><messages><message id="1" name="A"><description>&b;</description></message></messages>
</mavlink>"""
MESSAGE = '<message id="1" name="A"/>'
ENTRY = '<entry name="B" value="{}"/>'
REFUSED = {
    "a document type": (BILLION_LAUGHS, "the file has a document type"),
    "an entity": ("<mavlink>&a;</mavlink>", "undefined entity: line 1, column 9"),
    "no XML": ("once upon a time", "syntax error: line 1, column 0"),
    "nothing": ("", "no element found: line 1, column 0"),
    "an encoding": ('<?xml version="1.0" encoding="x"?><a/>', "unknown encoding"),
    "another format": ("<html/>", "the root element is <html> instead of <mavlink>"),
    "no message": ("<mavlink/>", "the file defines no messages"),
    "a folder": ("<mavlink><include>../a.xml</include></mavlink>", "cannot include '../a.xml', "),
    "an address": (
        "<mavlink><include>http://a/b</include></mavlink>",
        "which is not a file in its folder",
    ),
    "no file": ("<mavlink><include>b.xml</include></mavlink>", "b.xml: the file does not exist, "),
    "itself": ("<mavlink><include>.</include></mavlink>", "cannot include '.', "),
    "nowhere": ("<mavlink><include/></mavlink>", "cannot include '', "),
    "too much": (f"<mavlink>{' ' * (1 << 21)}</mavlink>", "have more than 2 MiB"),
    "no name": ('<mavlink><messages><message id="1"/></messages></mavlink>', "has no name"),
    "a name": (
        f"<mavlink><messages>{MESSAGE.replace('A', 'a b')}</messages></mavlink>",
        "a <message> has an invalid name='a b'",
    ),
    "a number": (
        f"<mavlink><messages>{MESSAGE.replace('1', 'one')}</messages></mavlink>",
        "A has 'one', which is not a number",
    ),
    "a long number": (
        f'<mavlink><enums><enum name="A">{ENTRY.format("9" * 5000)}</enum></enums>'
        f"<messages>{MESSAGE}</messages></mavlink>",
        "1 messages, 0 enums",
    ),
    "twice": (f"<mavlink><messages>{2 * MESSAGE}</messages></mavlink>", "1 is already used"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_invalid_definitions_are_refused(text: str, reason: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "definitions.xml"
    path.write_text(text)
    result = run("import", "mavlink", path)
    assert reason in result.stderr
    assert result.exit_code == int("messages," not in reason)
    assert bool(result.stdout) == (not result.exit_code)


def test_endless_includes_are_refused(run: Run, tmp_path: Path) -> None:
    for number in range(200):
        text = f"<mavlink><include>{number + 1}.xml</include></mavlink>"
        (tmp_path / f"{number}.xml").write_text(text)
    result = run("import", "mavlink", tmp_path / "0.xml")
    assert result.stderr.endswith("100.xml: there are more than 100 included files\n")


WORDS = st.sampled_from(
    '" < > /> = & ; 0 -1 2**99 0x 65536 u int8_t double[0] float[999] NaN name id type enum entry '
    'value invalid multiplier extensions include <field/> <message/> bitmask="false"'.split()
)


@given(edits=st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 9), WORDS), max_size=4))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_definitions_are_handled(
    edits: list[tuple[int, int, str]], run: Run, tmp_path: Path
) -> None:
    text = PROBE.read_text()
    for place, size, word in edits:
        at = place % len(text)
        text = text[:at] + word + text[at + size :]
    shutil.copy(PROBE.with_name("base.xml"), tmp_path)
    (tmp_path / "probe.xml").write_text(text)
    result = run("import", "mavlink", tmp_path / "probe.xml")
    assert result.exit_code == int("microvm-proto: " in result.stderr)
    assert bool(result.stdout) == (not result.exit_code)
