"""Tests of the newc archive, which a separate parser and cpio(1) read."""

from __future__ import annotations

import io
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microvm import cpio
from microvm.cpio import CpioEntry
from microvm.errors import ImageError

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40)
NAMES = NAMES.filter(lambda name: name != cpio.TRAILER)


def archive(*entries: CpioEntry) -> bytes:
    out = io.BytesIO()
    cpio.write(entries, out)
    return out.getvalue()


def parse(data: bytes) -> list[CpioEntry]:
    entries: list[CpioEntry] = []
    at = 0
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        field = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110 : at + 110 + field[11]]
        assert name.endswith(b"\0")
        start = (at + 110 + field[11] + 3) & ~3
        if name == b"TRAILER!!!\0":
            assert start == len(data)
            return entries
        text = name[:-1].decode("utf-8", "surrogateescape")
        content = data[start : start + field[6]]
        entries.append(CpioEntry(text, field[1], content, field[2], field[3]))
        at = (start + field[6] + 3) & ~3


@given(st.dictionaries(NAMES, st.binary(max_size=40), max_size=8))
def test_archive_is_read_back_completely(files: dict[str, bytes]) -> None:
    entries = [CpioEntry.file(name, data) for name, data in files.items()]
    expected = sorted(entries, key=lambda entry: entry.name.encode())
    assert parse(archive(*entries)) == expected


def test_the_name_that_ends_an_archive_is_refused() -> None:
    with pytest.raises(ImageError, match="TRAILER"):
        archive(CpioEntry.file(cpio.TRAILER, b""))


def test_modes_and_owners_are_kept() -> None:
    entry = CpioEntry("su", stat.S_IFREG | 0o4755, b"x", uid=1, gid=42)
    assert parse(archive(entry)) == [entry]


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not installed")
def test_cpio_reads_the_archive(tmp_path: Path) -> None:
    data = archive(
        CpioEntry.folder("a"), CpioEntry.file("a/b", b"12345"), CpioEntry.link("c", "a/b")
    )
    command = ["cpio", "--extract", "--quiet", "--no-absolute-filenames"]
    subprocess.run(command, input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "c").read_bytes() == b"12345"
