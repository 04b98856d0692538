"""Tests of tar archives, harmful and harmless."""

from __future__ import annotations

import io
import lzma
import os
import stat
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from microvm.errors import FileError, MicroVMError, UsageError
from microvm.guest.archive import ArchiveMember, ArchiveTree, write
from microvm.guest.limits import TransferLimits
from microvm.wire import files

Member = tuple[str, bytes, str, dict[str, object]]


def member(name: str, kind: bytes = tarfile.REGTYPE, content: str = "", **fields: object) -> Member:
    """Return a member of an archive. The content of a link is its target."""
    return name, kind, content, fields


def archive(*members: Member, format: int = tarfile.PAX_FORMAT) -> bytes:  # noqa: A002
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=format) as tar:
        for name, kind, content, fields in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            for key, value in fields.items():
                setattr(info, key, value)
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content.encode()))
    return made.getvalue()


def read(data: bytes | BinaryIO, size: int = 1 << 20, count: int = 100) -> dict[str, str]:
    """Return the members of an archive by path: a folder's mode, a link's target, a file's data."""
    with ArchiveTree("/to", TransferLimits(size, count)) as tree:
        tree.read(io.BytesIO(data) if isinstance(data, bytes) else data)
        shown: dict[str, str] = {}

        def show(node: ArchiveMember, path: str) -> None:
            mode = f"{stat.S_IMODE(node.mode):04o}"
            if stat.S_ISDIR(node.mode):
                shown[path or "."] = f"{mode}/"
                for name, inner in node.members.items():
                    show(inner, f"{path}{'/' if path else ''}{os.fsdecode(name)}")
            elif stat.S_ISLNK(node.mode):
                shown[path] = f"-> {os.fsdecode(node.target)}"
            else:
                content = os.pread(tree._content.fileno(), node.size, node.offset)
                shown[path] = f"{mode} {os.fsdecode(content)}"

        show(tree.root, "")
    return shown


FOLDER, SYMLINK, LINK = tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE

PLAIN = archive(
    member("./", FOLDER, mode=0o700),
    member("a/b/c", content="deep", mode=0o4755),
    member("d", content="first"),
    member("a", FOLDER, mode=0o750),
    member("a/l", SYMLINK, "/etc/passwd"),
    member("again", LINK, "./d"),
    member("d", content="second"),
    member("/rooted", content="x"),
    member("device", tarfile.CHRTYPE),
    member("fifo", tarfile.FIFOTYPE),
    member("n" * 255, content="long"),
)


def test_archive_gives_the_same_tree_as_tar() -> None:
    assert read(PLAIN) == {
        ".": "0700/",
        "a": "0750/",
        "a/b": "0755/",
        "a/b/c": "4755 deep",
        "a/l": "-> /etc/passwd",
        "d": "0644 second",
        "again": "0644 first",
        "rooted": "0644 x",
        "n" * 255: "0644 long",
    }


def test_devices_and_fifos_are_skipped_and_reported() -> None:
    with ArchiveTree("/to", TransferLimits(1 << 20, 100)) as tree:
        tree.read(io.BytesIO(PLAIN))
        assert tree.left_out == ["device", "fifo"]
    names = [member(f"{number:04}" + "n" * 4000, tarfile.FIFOTYPE) for number in range(300)]
    with pytest.raises(FileError, match="it exceeds a limit of the transfer"):
        read(archive(*names), count=1000)


@pytest.mark.parametrize("mode", ["gz", "bz2", "xz"])
def test_compressed_archive_is_read(mode: str) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=f"w|{mode}") as tar:  # type: ignore[call-overload]
        tar.addfile(tarfile.TarInfo("empty"))
    assert read(packed.getvalue()) == {".": "0755/", "empty": "0644 "}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_may_contain_any_bytes(format: int) -> None:  # noqa: A002
    assert read(archive(member("\udcff"), format=format)) == {".": "0755/", "\udcff": "0644 "}


def sparse() -> bytes:
    """Return a member with a file of 8 GiB that has only a hole."""
    info = tarfile.TarInfo("sparse")
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": f"{(8 << 30) - 1},1",
        "GNU.sparse.size": str(8 << 30),
    }
    info.size = 1
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info, io.BytesIO(b"x"))
    return made.getvalue()


def long_name() -> bytes:
    """Return a member with a name of 2 GiB, whose bytes are missing."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2 << 30
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)


def negative_mode() -> bytes:
    """Return a member with a negative mode, which the GNU format can express."""
    info = tarfile.TarInfo("a")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[100:108] = b"\xff" * 8
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(1024)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "a parent": (archive(member("../x")), "'../x' leads out of it"),
    "through a link": (
        archive(member("l", SYMLINK, "/etc"), member("l/passwd")),
        "a part of the path 'l/passwd' is no folder",
    ),
    "through a file": (archive(member("f"), member("f/g")), "is no folder in it"),
    "a file for a root": (archive(member("./")), "is the name of a folder"),
    "a link for a root": (archive(member(".", SYMLINK, "/etc")), "is the name of a folder"),
    "a name of what is outside": (archive(member("x", LINK, "../etc/passwd")), "leads out"),
    "a name of a link": (
        archive(member("a", SYMLINK, "/etc/passwd"), member("x", LINK, "a")),
        "no earlier file",
    ),
    "a name of nothing": (archive(member("x", LINK, "y")), "no earlier file"),
    "a name of a folder": (archive(member("a", FOLDER), member("x", LINK, "a")), "no earlier file"),
    "a long name": (archive(member("n" * 256)), "cannot be sent"),
    "a very long name": (long_name(), "too long"),
    "too deep": (archive(member("d/" * 128 + "f")), "nested more than 128 deep"),
    "noise": (b"\xff" * 1024, "cannot read the archive"),
    "a sparse file of no size": (
        archive(member("a", pax_headers={"GNU.sparse.size": "abc", "GNU.sparse.name": "a"})),
        "cannot read the archive",
    ),
    "a mode that is none": (negative_mode(), "'a' has an invalid mode"),
    "nothing": (b"", "empty file"),
    "half a file": (archive(member("a", content="x" * 999))[:1024], "cannot read the archive"),
    "no end": (archive(member("a", content="x"))[:1024], "cut short"),
    "a damaged header": (
        archive(member("a"), format=tarfile.USTAR_FORMAT)[:512] + b"\xff" * 1024,
        "cannot read the archive",
    ),
    "headers without end": (
        b"".join(
            tarfile.TarInfo.create_pax_global_header({"a": str(number)}) for number in range(3000)
        ),
        "cannot read the archive",
    ),
    "half of what is compressed": (lzma.compress(PLAIN)[:200], "cannot read the archive"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_invalid_archive_is_refused(kind: str) -> None:
    data, why = HOSTILE[kind]
    with pytest.raises(UsageError, match=why):
        read(data)


KEYS = "GNU.sparse.size GNU.sparse.realsize GNU.sparse.map GNU.sparse.major GNU.sparse.minor " + (
    "GNU.sparse.offset GNU.sparse.numbytes GNU.sparse.numblocks GNU.sparse.name "
    "path linkpath size mode mtime uid gid uname hdrcharset"
)
NUMBERS = st.sampled_from(["", "0", "1", "-1", "0.1", "a", "1,2", "1,a", "1,2,3", "9" * 20, "1\n0"])


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """Return archives with changed bytes, with correct or wrong checksums of their headers."""
    headers = draw(st.dictionaries(st.sampled_from(KEYS.split()), NUMBERS, max_size=4))
    content = draw(st.sampled_from(["x", "1\n0\n1\n", "9\n"])) * draw(st.sampled_from([0, 1, 200]))
    kind = draw(st.sampled_from([tarfile.REGTYPE, tarfile.GNUTYPE_SPARSE, LINK, SYMLINK, b"X"]))
    form = draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    whole = member("a", kind, content, pax_headers=headers)
    data = bytearray(archive(whole, member("b"), format=form)[: 20 * tarfile.BLOCKSIZE])
    for at, piece in draw(
        st.lists(st.tuples(st.integers(0, len(data) - 9), st.binary(max_size=8)), max_size=4)
    ):
        data[at : at + len(piece)] = piece
    for at in range(0, len(data), tarfile.BLOCKSIZE) if draw(st.booleans()) else ():
        header = data[at : at + 148] + b" " * 8 + data[at + 156 : at + tarfile.BLOCKSIZE]
        if b"ustar" in header:
            data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    return bytes(data) + bytes(2 * tarfile.BLOCKSIZE)


@settings(max_examples=100, deadline=None)
@given(archives())
@example(negative_mode())
def test_random_archive_is_read_or_refused(data: bytes) -> None:
    with suppress(MicroVMError):
        read(data)


@pytest.mark.parametrize(
    ("data", "size", "count"),
    [
        (archive(member("a", content="x" * 101)), 100, 100),
        (archive(member("a"), member("b"), member("c")), 100, 2),
        (archive(member("a/b/c")), 100, 2),
        (archive(member("a", content="x" * 60), member("b", LINK, "a")), 100, 100),
        (sparse(), 1 << 20, 100),
        (lzma.compress(archive(member("a", content="\0" * (4 << 20)))), 1 << 20, 100),
    ],
    ids=["size", "files", "folders", "other names", "holes", "compressed"],
)
def test_archive_beyond_a_limit_is_refused(data: bytes, size: int, count: int) -> None:
    with pytest.raises(FileError, match="/to: it exceeds a limit of the transfer"):
        read(data, size, count)


@pytest.mark.parametrize("mtime", ["nan", "inf", "-1e300", "9999999999999"])
def test_invalid_time_becomes_the_current_time(mtime: str) -> None:
    with ArchiveTree("/to", TransferLimits(1, 9)) as tree:
        tree.read(io.BytesIO(archive(member("a", pax_headers={"mtime": mtime}))))
        assert tree.root.members[b"a"].mtime == files.NOW


@pytest.mark.parametrize("name", ["tree", ""])
def test_written_archive_belongs_to_root_and_can_be_read(
    tmp_path: Path, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder/a\udcff").write_text("x")
    (tmp_path / "folder/l").symlink_to("a")
    made = io.BytesIO()
    write(tmp_path / "folder", name, made)
    with tarfile.open(fileobj=io.BytesIO(made.getvalue())) as tar:
        assert {(each.uid, each.gid, each.uname) for each in tar} == {(0, 0, "root")}
    at = f"{name}/" if name else ""
    found = read(made.getvalue())
    assert found[f"{at}a\udcff"] == "0644 x"
    assert found[f"{at}l"] == "-> a"


def test_closed_reader_raises_broken_pipe_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(1 << 20))
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb", buffering=0) as pipe, pytest.raises(BrokenPipeError):
        write(tmp_path / "x", "x", pipe)
