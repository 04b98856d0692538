"""Tests of trees: the effects of layers on each other, and hostile layers."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.image.layers import LayerMember, content, file, folder, hard, layer, link, shown, tar

from microvm.errors import ImageError
from microvm_image.limits import Limits
from microvm_image.tree import RootfsTree


def written(tree: RootfsTree) -> bytes:
    out = io.BytesIO()
    tree.write_tar(out.write)
    return out.getvalue()


def test_upper_layer_hides_lower_layers() -> None:
    lower = tar(folder("etc"), file("etc/a", b"1"), file("etc/b", b"1"))
    assert content(lower, tar(file("./etc/b", b"2"), file("etc/c", b"2"))) == {
        "etc": "/",
        "etc/a": "1",
        "etc/b": "2",
        "etc/c": "2",
    }


@pytest.mark.parametrize(
    ("upper", "left"),
    [
        ([file("d/.wh.a")], {"d": "/", "d/b": "1", "d/e": "/", "d/e/f": "1"}),
        ([file("d/.wh.nothing"), file("no/.wh.a")], None),
        ([file("d/b/.wh.a")], None),
        ([file(".wh.d")], {}),
        ([file("d/.wh..wh..opq")], {"d": "/"}),
        ([file(".wh..wh..opq")], {}),
        ([file("d/n", b"2"), file("d/.wh..wh..opq")], {"d": "/", "d/n": "2"}),
        ([file("d/.wh..wh..opq"), file("d/n", b"2")], {"d": "/", "d/n": "2"}),
        ([file("d/a", b"2"), file("d/.wh.a")], {"d/a": "2"}),
        ([file("d/.wh.a"), file("d/a", b"2")], {"d/a": "2"}),
        ([file("d/e/n", b"2"), file(".wh.d")], {"d": "/", "d/e": "/", "d/e/n": "2"}),
        ([file(".wh..wh.plnk/x", b"aufs"), file(".wh..wh.aufs")], None),
        ([file("d", b"2")], {"d": "2"}),
        ([folder("d/a")], {"d/a": "/"}),
        ([folder("d")], None),
    ],
)
def test_whiteouts(upper: list[LayerMember], left: dict[str, str] | None) -> None:
    lower = tar(
        *map(folder, ("d", "d/e")), *(file(f"d/{name}", b"1") for name in ("a", "b", "e/f"))
    )
    before = content(lower)
    after = content(lower, tar(*upper))
    if left and "d" not in left:
        left = before | left
    assert after == (before if left is None else left)


def test_layer_follows_links_as_the_guest_does() -> None:
    lower = tar(
        folder("usr/lib"), link("lib", "usr/lib"), link("abs", "/usr"), link("up", "../../..")
    )
    upper = tar(file("lib/a", b"a"), file("abs/b", b"b"), file("up/c", b"c"), file("lib/.wh.x"))
    found = content(lower, upper)
    assert {name: text for name, text in found.items() if len(text) == 1 and text != "/"} == {
        "usr/lib/a": "a",
        "usr/b": "b",
        "c": "c",
    }
    assert found["lib"] == "-> usr/lib"
    assert content(lower, tar(folder("lib"), file("lib/a", b"a")))["lib/a"] == "a"
    assert content(tar(link("a", "/nowhere/x")), tar(file("a/b", b"b")))["nowhere/x/b"] == "b"


def test_hard_links_are_names_of_one_file() -> None:
    lower = tar(file("a", b"1"), hard("b", "./a"))
    with RootfsTree() as tree:
        tree.add(layer(lower))
        tree.add(layer(tar(file("a", b"2"), hard("c", "b"))))
        assert shown(tree) == {"a": "2", "b": "1", "c": "1"}
        nodes = dict(tree.walk())
        assert nodes["b"] is nodes["c"]
        with tarfile.open(fileobj=io.BytesIO(written(tree))) as archive:
            assert archive.getmember("c").linkname == "b"


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([file("/etc/passwd")], "absolute"),
        ([file("../x")], "leads out"),
        ([file("a/../../x")], "leads out"),
        ([hard("x", "/etc/passwd")], "absolute"),
        ([hard("x", "../etc/passwd")], "leads out"),
        ([hard("x", "nowhere")], "hard link to nothing"),
        ([hard("a", "b"), hard("b", "a")], "hard link to nothing"),
        ([folder("d"), hard("x", "d")], "hard link to a folder"),
        ([file("f"), file("f/x")], "'f', which is no folder"),
        ([link("a", "b"), link("b", "a"), file("a/x")], "too many symbolic links"),
        ([file(".")], "root is no folder"),
        ([file("a/.wh.")], "no name"),
        ([file(".wh.a/x")], "a whiteout is no folder"),
        ([file("x" * 256)], "too long"),
        ([link("x", "y" * 4096)], "too long"),
        ([file("x/" * 200)], "folders are nested more"),
        ([file("a\0b", pax_headers={"path": "a\0b"})], "NUL"),
        ([file("a", uid=-2)], "has an invalid owner"),
        ([LayerMember("a", kind="char", attributes=(("devmajor", 1 << 20),))], "an invalid number"),
        ([LayerMember("a", attributes=(("type", b"Z"),))], "unknown type"),
        ([file("a", type=tarfile.GNUTYPE_SPARSE)], "sparse"),
        ([file("a", b"x", pax_headers={"size": str(1 << 60)})], "cut short"),
        ([file("a", b"x", pax_headers={"size": "-5"})], "damaged"),
        ([file("a", pax_headers={"x": "y" * (600 << 10)})], "too long"),
    ],
)
def test_a_hostile_member_is_refused(parts: list[LayerMember], says: str) -> None:
    format_ = tarfile.GNU_FORMAT if dict(parts[-1].attributes).get("uid") else tarfile.PAX_FORMAT
    with pytest.raises(ImageError, match=says):
        content(tar(*parts, format=format_))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (Limits(members=3), "more than 3 files"),
        (Limits(metadata=1), "more than 1 bytes of names"),
        (Limits(unpacked=4096), "unpacked"),
        (Limits(depth=3), "folders are nested more"),
    ],
)
def test_limits(limits: Limits, says: str) -> None:
    data = tar(folder("d"), file("d/a", bytes(4096)), file("d/b/c/d", b"1"))
    with pytest.raises(ImageError, match=says):
        content(data, limits=limits)


def test_layers_are_counted() -> None:
    with pytest.raises(ImageError, match="more than 2 layers"):
        content(*[tar(file("a"))] * 3, limits=Limits(layers=2))


def test_number_of_path_steps_is_limited() -> None:
    way = "/".join(["."] * 2000)
    parts = [link(f"l{n}", f"{way}/l{n + 1}" if n < 30 else ".") for n in range(31)]
    with pytest.raises(ImageError, match="too long to follow"):
        content(tar(*parts, *(file(f"l0/{n}") for n in range(10))), limits=Limits(members=5000))


def test_incomplete_archive_is_refused() -> None:
    data = tar(file("a", b"x" * 700), link("b", "a"))
    end = data.rindex(b"ustar") + 255  # of the last member
    for cut in range(0, end + 1, 64):
        with pytest.raises(ImageError, match="damaged"):
            content(data[:cut])
    with RootfsTree() as tree:
        tree.add(layer(data[:end], is_whole=True))  # as if its digest had been compared


def test_all_attributes_of_a_member_are_kept() -> None:
    capability = b"\1\0\0\2\xff\4" + bytes(14)
    attributes: dict[str, Any] = {
        "mode": 0o4755,
        "uid": 100_000,
        "gid": 70_000,
        "mtime": 1_234_567_890,
        "pax_headers": {
            "SCHILY.xattr.security.capability": capability.decode("utf-8", "surrogateescape"),
            "SCHILY.xattr.trusted.overlay.opaque": "y",
            "SCHILY.xattr.user.mime": "text",
        },
    }
    name = os.fsdecode(b"caf\xe9")
    device = (("devmajor", 259), ("devminor", 70_000))
    parts = [file(name, b"x", **attributes), LayerMember("sda", kind="block", attributes=device)]
    with RootfsTree() as tree:
        tree.add(layer(tar(folder(".", mode=0o711), *parts, LayerMember("pipe", kind="fifo"))))
        once = written(tree)
        node = dict(tree.walk())[name]
        assert dict(node.xattrs) == {"security.capability": capability, "user.mime": b"text"}
        assert (node.mode & 0o7777, node.uid, node.gid) == (0o4755, 100_000, 70_000)
        assert node.mtime == 1_234_567_890
        assert dict(tree.walk())["sda"].device == (259, 70_000)
        assert dict(tree.walk())[""].mode & 0o7777 == 0o711
        assert not tree.is_small()
    with RootfsTree() as tree:
        tree.add(layer(once))
        assert written(tree) == once
    # Every Python must write the same bytes, because machines compare the digests of disks.
    assert hashlib.sha256(once).hexdigest() == (
        "a73ab504139f84cee855af9c3c09398508b5f3ccf46845bcb281792b0527425c"
    )


@given(st.data())
def test_a_damaged_archive_ends_in_an_error_or_a_tree(data: st.DataObject) -> None:
    whole = bytearray(tar(file("a" * 120, b"x", uid=1 << 30), hard("b", "a" * 120), folder("c")))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with RootfsTree() as tree:
        try:
            tree.add(layer(bytes(whole)))
        except ImageError:
            return
        written(tree)


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with RootfsTree() as tree:
        data = tar(file("a", bytes(32 << 20)))
        tree.add(layer(data))
        tracemalloc.start()
        with path.open("wb") as out:
            tree.write_tar(out.write)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8 << 20
