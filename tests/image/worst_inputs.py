"""The worst inputs for the readers of images: small files that cause much work or memory use."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import stat
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.image.layers import file, folder, hard, link, tar

from microvm import cpio
from microvm.zstd import zstd_module

BLOCK = 4096
FOLDER, FILE = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644


@dataclass(frozen=True)
class Worst:
    """A kind of input.

    :ivar make: A function that takes a number, and returns an input with about as many members,
        records or bytes.
    :ivar says: A part of the error message; "" if the input is read to its end without an error.
    """

    make: Callable[[int], bytes]
    says: str = ""


def _cut(archive: bytes) -> bytes:
    """Return a tar archive without the blocks at its end, so that another can follow."""
    return archive[: -(-len(archive.rstrip(b"\0")) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE]


def _extended(records: Iterator[tuple[str, str]], kind: bytes) -> bytes:
    """Return an extended header with these records."""
    data = bytearray()
    for key, value in records:
        rest = f" {key}={value}\n".encode()
        length = len(rest)
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        data += str(length).encode() + rest
    header = tarfile.TarInfo("header")
    header.type, header.size = kind, len(data)
    return header.tobuf() + bytes(data) + bytes(-len(data) % tarfile.BLOCKSIZE)


def _globals(count: int) -> bytes:
    headers = (
        _extended(((f"x{n}-{key}", "") for key in range(1000)), tarfile.XGLTYPE)
        + _cut(tar(file(f"{n}")))
        for n in range(count // 1000)
    )
    return b"".join(headers) + bytes(1024)


def _attributes(count: int) -> bytes:
    headers = (
        _extended(((f"SCHILY.xattr.user.{key}", "") for key in range(1000)), tarfile.XHDTYPE)
        + _cut(tar(file(f"{n}")))
        for n in range(count // 1000)
    )
    return b"".join(headers) + bytes(1024)


def _wandering(count: int) -> bytes:
    """Return a chain of links with long paths that ends nowhere, and whiteouts below it."""
    way = "/".join(["."] * 2000)
    links = (link(f"l{n}", f"l{n + 1}/{way}" if n < 38 else "nowhere") for n in range(39))
    return tar(*links, *(file(f"l0/.wh.{n}") for n in range(count)))


def _far(count: int) -> bytes:
    """Return files with short paths through a link, whose real folder has a long path."""
    far = "/".join(["d" * 250] * 15)
    return tar(folder(far), link("l", far), *(file(f"l/{n}") for n in range(count)))


TARS = {
    "opaque folders": Worst(lambda n: tar(*(file(f"{i}/.wh..wh..opq") for i in range(n)))),
    "an opaque root, many times": Worst(
        lambda n: tar(*(file(f"{i}/f") for i in range(n)), *[file(".wh..wh..opq")] * n)
    ),
    "an opaque folder, many times": Worst(
        lambda n: tar(*(file(f"d/{name}") for i in range(n) for name in (f"{i}", ".wh..wh..opq")))
    ),
    "whiteouts of a folder": Worst(
        lambda n: tar(*(file(f"d/{i}/f") for i in range(n)), *[file(".wh.d")] * n)
    ),
    "one name, many times": Worst(lambda n: tar(*[file("a/b/c")] * n)),
    "hard links to one file": Worst(
        lambda n: tar(file("f"), *(hard(f"h{i}", "f") for i in range(n)))
    ),
    "deep folders": Worst(lambda n: tar(*(file("d/" * 120 + f"{i}") for i in range(n)))),
    "paths of dots": Worst(lambda n: tar(*(file("./" * 100 + f"{i}") for i in range(n)))),
    "links that wander": Worst(_wandering, "too long to follow"),
    "files far away": Worst(_far),
    "global headers": Worst(lambda n: _globals(n * 20), "global headers"),
    "attributes": Worst(lambda n: _attributes(n * 20), "names and attributes"),
    "a long header": Worst(
        lambda n: _extended(iter([("comment", "x" * n * 400)]), tarfile.XHDTYPE), "too long"
    ),
    "headers of headers": Worst(
        lambda n: b"".join(_extended(iter([]), tarfile.XHDTYPE) for _ in range(n)), "damaged"
    ),
    "a sparse map": Worst(
        lambda n: (
            _extended(
                iter([("GNU.sparse.map", ",".join("1" * n)), ("GNU.sparse.size", "1")]),
                tarfile.XHDTYPE,
            )
            + tar(file("f"))
        ),
        "sparse",
    ),
    "a number of many digits": Worst(
        lambda _: _extended(iter([("uid", "9" * 4000)]), tarfile.XHDTYPE) + tar(file("f")),
        "has an invalid owner",
    ),
}
"""Uncompressed archives."""


def _streams(compress: Callable[[bytes], bytes], content: bytes) -> Callable[[int], bytes]:
    return lambda n: compress(content) * (n * 20)


def _zstd(data: bytes) -> bytes:
    return bytes(zstd_module().compress(data))


def _xz(dictionary: int) -> Callable[[bytes], bytes]:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": dictionary}]
    return lambda data: lzma.compress(data, filters=filters)


def _wide_xz(_: int) -> bytes:
    """Return an xz stream whose block header claims a dictionary of 3 GiB."""
    packed = bytearray(_xz(1 << 20)(tar(file("f"))))
    packed[packed.index(b"\x21\x01") + 2] = 39
    end = 12 + (packed[12] + 1) * 4
    packed[end - 4 : end] = struct.pack("<I", zlib.crc32(packed[12 : end - 4]))
    return bytes(packed)


def _wide_zstd(_: int) -> bytes:
    """Return a zstd frame whose header claims a window of 2 GiB."""
    return b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([21 << 3]) + b"\x01\x00\x00"


_COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
    "bzip2": bz2.compress,
}

PACKED = {
    **{
        f"empty streams of {name}": Worst(_streams(compress, b""), "compressed streams")
        for name, compress in _COMPRESS.items()
    },
    "streams of a byte": Worst(_streams(_zstd, b"x"), "compressed streams"),
    "streams with dictionaries": Worst(lambda n: _xz(8 << 20)(b"x") * n, "damaged"),
    "zeros behind a stream": Worst(lambda n: _zstd(tar(file("f"))) + bytes(n * 600), "of zeros"),
    "zeros between streams": Worst(lambda n: (gzip.compress(b"") + bytes(1000)) * n, "of zeros"),
    "some zeros behind a stream": Worst(lambda n: gzip.compress(tar(file("f"))) + bytes(n * 500)),
    "a wide dictionary": Worst(_wide_xz, "damaged"),
    "a wide window": Worst(_wide_zstd, "damaged"),
    **{
        f"a bomb of {name}": Worst(lambda n, pack=pack: pack(bytes(n * 20000)), "times its")  # type: ignore[misc]
        for name, pack in _COMPRESS.items()
    },
    "many files": Worst(
        lambda n: gzip.compress(tar(*(file(f"{i}") for i in range(n * 6))), 9), "more than 10,000"
    ),
}
"""Compressed archives, for `Limits(unsuspected=4 MiB, members=10000)`."""


def _inode(
    mode: int, size: int = 0, block: int = 0, *, links: int = 1, attributes: int = 0
) -> bytes:
    facts = (0, attributes, mode, links, size, block, 0, 0)
    return struct.pack("<HHHHI4xI4xHH4x", *facts)


def _names(entries: list[tuple[str, int]]) -> bytes:
    """Return a block of a folder that lists these names and inode numbers."""
    at = 12 * len(entries)
    heads, names = b"", b""
    for name, number in entries:
        heads += struct.pack("<QHBx", number, at + len(names), 0)
        names += name.encode()
    return (heads + names).ljust(BLOCK, b"\0")


def _erofs(inodes: list[bytes], blocks: list[bytes]) -> bytes:
    """Return a disk: a block with the superblock, the inodes, and the other blocks."""
    table = b"".join(inodes)
    table += bytes(-len(table) % BLOCK)
    head = bytearray(BLOCK)
    facts = (0xE0F5E1E2, 12, 0, len(inodes), 0, 0, 1, 0, 0)
    head[1024:1108] = struct.pack("<I8xBxHQQI4xII32xI", *facts)[:84]
    return bytes(head) + table + b"".join(blocks)


def _first_block(inodes: int) -> int:
    return 1 + -(-inodes * 32 // BLOCK)


def _windows(count: int) -> bytes:
    """Return nested folders whose blocks overlap; the last name in each is the next folder."""
    window, depth, names = count // 10, 100, 300
    first = _first_block(depth + 1)
    blocks = []
    for block in range(window + depth):
        following = block - window + 2
        numbers = [depth] * names
        if 0 < following < depth:
            numbers[-1] = following
        blocks.append(_names([(chr(48 + n % 64), number) for n, number in enumerate(numbers)]))
    inodes = [_inode(FOLDER, window * BLOCK, first + n) for n in range(depth)]
    return _erofs([*inodes, _inode(FILE)], blocks)


def _flat(mode: int, count: int, *, size: int = 0, links: int = 1, attributes: int = 0) -> bytes:
    """Return a folder of files that all use the same block."""
    listed = [
        _names([(f"{at + n:06x}", 1 + at + n) for n in range(200)]) for at in range(0, count, 200)
    ]
    first = _first_block(1 + count)
    kinds = [_inode(mode, size, first, links=links, attributes=attributes)] * (len(listed) * 200)
    return _erofs([_inode(FOLDER, len(listed) * BLOCK, first), *kinds], listed)


def _one(number: int, *inodes: bytes) -> bytes:
    first = _first_block(8)
    root = _inode(FOLDER, BLOCK, first)
    return _erofs([root, *inodes, *[bytes(32)] * (7 - len(inodes))], [_names([("f", number)])])


def _again(count: int, links: int) -> bytes:
    """Return a folder whose names all belong to the same file."""
    listed = [_names([(f"{at + n:06x}", 1) for n in range(200)]) for at in range(0, count, 200)]
    inodes = [_inode(FOLDER, len(listed) * BLOCK, 2), _inode(FILE, BLOCK, 2, links=links)]
    return _erofs(inodes, listed)


DISKS = {
    "folders that overlap": Worst(_windows, "overlap|more than 10,000 files"),
    "files that overlap": Worst(lambda n: _flat(FILE, n, size=BLOCK * 4), "overlap"),
    "attributes that overlap": Worst(lambda n: _flat(FILE, n, attributes=60000), "overlap"),
    "many files": Worst(lambda n: _flat(FILE, n)),
    "one file of many names": Worst(lambda n: _again(n, 2)),
    "one file of many names that says it has one": Worst(lambda n: _again(n, 1), "overlap"),
    "a folder in itself": Worst(lambda _: _one(0), "a folder has two names"),
    "a number beyond the disk": Worst(lambda _: _one(1 << 59), "an inode is beyond the end of"),
    "the largest number": Worst(lambda _: _one((1 << 64) - 1), "damaged disk"),
    "a file of no type": Worst(lambda _: _one(1, _inode(0o644)), "a type that does not exist"),
    "a socket": Worst(lambda _: _one(1, _inode(stat.S_IFSOCK)), "a type that does not exist"),
    "a file beyond the disk": Worst(
        lambda _: _one(1, _inode(FILE, 5, 0xFFFFFFFF)), "extends beyond the end"
    ),
    "a long link": Worst(
        lambda _: _one(1, _inode(stat.S_IFLNK | 0o777, BLOCK + 1, 1)), "link is too long"
    ),
    "no folder": Worst(lambda _: _erofs([_inode(FILE)], []), "root is no folder"),
}
"""Disks of EROFS."""


def _member(name: str, **facts: str) -> bytes:
    """Return a member of an initramfs, with some numbers of its header replaced by these texts."""
    numbers = dict.fromkeys(("ino", "mode", "uid", "gid", "nlink", "mtime", "size"), "00000000")
    numbers |= {"mode": f"{FILE:08x}"} | facts
    tail = "00000000" * 4 + f"{len(name) + 1:08x}" + "00000000"
    head = cpio.MAGIC + ("".join(numbers.values()) + tail).encode()
    whole = head + name.encode() + b"\0"
    return whole + bytes(-len(whole) % 4)


INITRAMFS = {
    "members": Worst(lambda n: b"".join(_member(f"{i}") for i in range(n)) + _member(cpio.TRAILER)),
    "no end": Worst(lambda n: b"".join(_member(f"{i}") for i in range(n)), "no cpio archive"),
    "a mode below zero": Worst(lambda _: _member("f", mode="-0000001"), "no cpio archive"),
    "a mode with an underscore": Worst(lambda _: _member("f", mode="0008_1a4"), "no cpio archive"),
    "a file of no type": Worst(lambda _: _member("f", mode="000001a4"), "does not exist"),
    "a size of 4 GiB": Worst(lambda _: _member("f", size="ffffffff"), "cut short"),
}
"""Archives of initramfs."""


def _index(*entries: object) -> bytes:
    return json.dumps({"manifests": entries}).encode()


DOCUMENTS = {
    "lists in lists": Worst(lambda n: b"[" * n * 10, "damaged"),
    "objects in objects": Worst(lambda n: b'{"a":' * n * 10, "damaged"),
    "a number of many digits": Worst(lambda n: b'{"manifests":' + b"9" * n * 10 + b"}", "damaged"),
    "a size of many digits": Worst(
        lambda _: (
            b'{"manifests":[{"digest":"sha256:' + b"0" * 64 + b'","size":' + b"9" * 4000 + b"}]}"
        ),
        "of size beyond any file",
    ),
    "many images": Worst(lambda n: _index(*[{}] * (n * 10)), "images, more than 10,000"),
    "images of long names": Worst(
        lambda _: _index(
            *(
                {
                    "digest": f"sha256:{n:064x}",
                    "size": 1,
                    "annotations": {"org.opencontainers.image.ref.name": f"{n}" * 1000},
                }
                for n in range(100)
            )
        ),
        "more than one image",
    ),
    "a long document": Worst(lambda n: b" " * n * 5000, "too long"),
}
"""The contents of the file index.json of an OCI layout."""
