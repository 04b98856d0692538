"""Tests that another machine imports the same image, or refuses a file that was changed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.small_disk import small_disk

from microvm.errors import CacheError, ImageError
from microvm.images import Image, export, load, tags
from microvm.images.config import ImageConfig
from microvm.progress import NullReporter
from microvm.zstd import zstd_module
from microvm_image.build import build
from microvm_image.image_removal import remove

Member = tuple[str, bytes]

LIMIT = 1 << 30


class Notices(NullReporter):
    """A reporter that collects the notices for the user."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def notice(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def image(archive: Path, kernel: Path) -> Image:
    """Return an image with a disk and default options, which no builder writes here."""
    built = build(rootfs=archive, kernel=kernel)
    disk = os.urandom(600_001)
    (built.path / "root.erofs").write_bytes(disk)
    manifest = built.manifest._replace(
        config=ImageConfig(env=("A=é\udcff",), workdir="/srv", user="app", cmd=("sh", "-c", "id")),
        warm=(("true",),),
        history=("--env A=é", "--run 'pip install x'"),
        disk_size=len(disk),
        disk_sha256=hashlib.sha256(disk).hexdigest(),
    )
    (built.path / "manifest.json").write_text(manifest.json())
    return load(built.path)


@pytest.fixture
def exported(image: Image) -> bytes:
    """Return the exported file of an image with two tags."""
    for tag in ("app", "app:3.13"):
        tags.assign(tag, image.name)
    out = io.BytesIO()
    export.write(image, out)
    return out.getvalue()


@pytest.fixture
def elsewhere(exported: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use another, new cache, as on another machine."""
    assert exported
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "elsewhere"))
    return tmp_path / "elsewhere"


def read(data: bytes, **options: Any) -> tuple[Image, list[str]]:
    return export.read(io.BytesIO(data), "file", **{"limit": LIMIT, **options})


def members(exported: bytes) -> list[Member]:
    with tarfile.open(fileobj=io.BytesIO(zstd_module().decompress(exported))) as archive:
        found = []
        for each in archive:
            content = archive.extractfile(each)
            assert content
            found.append((each.name, content.read()))
        return found


def packed(found: list[Member], **attributes: Any) -> bytes:
    """Return an archive of members; the attributes are those of the kernel's `TarInfo`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in found:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            if name == "kernel":
                for attribute, value in attributes.items():
                    setattr(header, attribute, value)
            archive.addfile(header, io.BytesIO(data))
    return bytes(zstd_module().compress(out.getvalue()))


def test_imported_image_equals_the_exported_one(
    image: Image, exported: bytes, elsewhere: Path
) -> None:
    found, named = read(exported)
    assert found.path == elsewhere / "images" / image.name
    assert found.manifest == image.manifest
    assert found.manifest.config == image.manifest.config
    for path, _, _ in image.files:
        assert (found.path / path.name).read_bytes() == path.read_bytes()
    assert named == ["app:3.13", "app:latest"]
    assert load("app") == load(image.name) == found
    assert found.is_imported
    assert not image.is_imported
    assert {path.stat().st_mode & 0o777 for path, _, _ in found.files} == {0o400}
    again = io.BytesIO()
    export.write(found, again)
    assert again.getvalue() == exported


def test_export_is_a_tar_that_other_tools_read(image: Image, exported: bytes) -> None:
    names = [name for name, _ in members(exported)]
    assert names == ["manifest.json", "tags.json", "kernel", "initramfs.cpio", "root.erofs"]
    assert dict(members(exported))["kernel"] == image.kernel.read_bytes()
    read(packed(members(exported)))  # with the padding of tar(1)


@pytest.mark.usefixtures("elsewhere")
def test_second_import_changes_nothing(exported: bytes) -> None:
    first, _ = read(exported)
    made = first.kernel.stat()
    tags.clear("app:latest")
    second, named = read(exported)
    assert second == first
    assert second.kernel.stat().st_ino == made.st_ino
    assert named == ["app:3.13", "app:latest"]


@pytest.mark.usefixtures("elsewhere")
def test_expected_image_must_match_and_gets_no_tags(image: Image, exported: bytes) -> None:
    made = image.manifest
    for other in (made._replace(history=()), made._replace(config=ImageConfig(user="root"))):
        with pytest.raises(ImageError, match="damaged image: it contains another image, "):
            read(exported, expected=other)
    assert read(exported, expected=made)[1] == tags.of(image.name) == []


@pytest.mark.usefixtures("elsewhere")
def test_import_replaces_a_damaged_image(exported: bytes) -> None:
    first, _ = read(exported)
    first.kernel.chmod(0o644)
    first.kernel.write_bytes(b"")
    assert read(exported)[0] == load("app") == first


@pytest.mark.usefixtures("elsewhere")
def test_import_moves_a_tag_only_if_asked(exported: bytes, archive: Path, kernel: Path) -> None:
    kernel.write_bytes(kernel.read_bytes() + b"more")
    other = build(rootfs=archive, kernel=kernel)
    tags.assign("app", other.name)
    told = Notices()
    found, named = read(exported, report=told)
    assert named == ["app:3.13"]
    assert load("app") == other
    assert told.said == [
        f"app:latest stays with {other.name}: `microvm image tag {found.name} app:latest` moves it"
    ]
    assert read(exported, tag="app")[1] == ["app:latest"]
    assert load("app") == found
    with pytest.raises(ImageError, match="cannot be a tag"):
        read(exported, tag="../app")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("python", False),
        ("debian:trixie", False),
        ("python:3.13", True),
    ],
)
def test_import_gives_no_reserved_tag(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, taken: bool
) -> None:
    out = io.BytesIO()
    export.write(image, out, named=[name, "app"])
    monkeypatch.setenv("MICROVM_CACHE", str(tmp_path / "elsewhere"))
    told = Notices()
    found, named = read(out.getvalue(), report=told)
    full = tags.parse(name)
    assert named == [*([full] if taken else []), "app:latest"]
    assert (tags.image_of(full) == found.name) == taken
    if not taken:
        assert told.said == [
            f"{full} is reserved and is not given by an import: "
            f"`microvm image tag {found.name} {full}` gives it to this image"
        ]
    assert read(out.getvalue(), tag=name)[1] == [full]  # the user chose this tag


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("name", ["python", "app", "debian-x86_64-0123456789", "a-riscv-{}"])
def test_name_of_an_image_precedes_a_tag(exported: bytes, name: str) -> None:
    """If the name of an image is also a tag of another image, the name counts."""
    found = members(exported)
    manifest = json.loads(found[0][1]) | {"name": name.format("0" * 12)}
    text = json.dumps(manifest).encode()
    with pytest.raises(ImageError, match="no build gives an image the name"):
        read(packed([("manifest.json", text), *found[1:]]))


def test_build_does_not_use_an_imported_image(
    exported: bytes, elsewhere: Path, archive: Path, kernel: Path
) -> None:
    claimed, _ = read(exported)  # with the name of the built image, but with a disk
    assert claimed.path.is_relative_to(elsewhere)
    built = build(rootfs=archive, kernel=kernel)
    assert built.path == claimed.path
    assert built.disk is None
    assert not built.is_imported
    with pytest.raises(ImageError, match="the cache has another image of that name"):
        read(exported)
    assert load(built.name) == built


def _manifest(change: dict[str, Any]) -> Callable[[list[Member]], list[Member]]:
    def changed(found: list[Member]) -> list[Member]:
        text = json.dumps({**json.loads(found[0][1]), **change}).encode()
        return [("manifest.json", text), *found[1:]]

    return changed


def _replace(at: int, *others: Member) -> Callable[[list[Member]], list[Member]]:
    return lambda found: [*found[:at], *others, *found[at + 1 :]]


LIES: dict[str, tuple[Callable[[list[Member]], list[Member]], str]] = {
    "another version": (_manifest({"format": 1}), "file: another version of microvm wrote it"),
    "a name with a path": (_manifest({"name": "../../x"}), "'../../x' cannot be its name"),
    "a hidden name": (_manifest({"name": ".x"}), "'.x' cannot be its name"),
    "another size": (_manifest({"kernel_size": 1}), "kernel has 65536 bytes, of at most 1"),
    "a wrong digest": (
        _manifest({"disk_sha256": "0" * 64}),
        "root.erofs differs from the manifest",
    ),
    "a bomb": (
        _manifest({"disk_size": 1 << 40}),
        r"takes 1T, of at most 1G \(if you trust it, raise the limit: `microvm image import",
    ),
    "no JSON": (_replace(0, ("manifest.json", b"\xff")), "its manifest: 'utf-8' codec"),
    "deep JSON": (
        _replace(0, ("manifest.json", b"[" * 500_000)),
        "its manifest: maximum recursion",
    ),
    "a long manifest": (_replace(0, ("manifest.json", bytes(2 << 20))), "of at most 1048576"),
    "tags of another kind": (_replace(1, ("tags.json", b"{}")), "its tags: they are not a list"),
    "tags that are none": (_replace(1, ("tags.json", b'["../x"]')), "'../x' cannot be a tag"),
    "no tags": (_replace(1), "it contains 'kernel' instead of tags.json"),
    "an absolute path": (
        _replace(2, ("/etc/passwd", b"x")),
        "it contains '/etc/passwd' instead of ker",
    ),
    "another order": (
        lambda found: found[:2] + found[:1:-1],
        "it contains 'root.erofs' instead of kern",
    ),
    "one file less": (lambda found: found[:-1], "is no exported image|cut short"),
    "one file more": (lambda found: [*found, ("more", b"x")], "it does not end where it should"),
    "nothing": (lambda _: [], "is no exported image"),
}


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("lie", LIES)
def test_wrong_file_is_refused_and_removed(lie: str, exported: bytes, elsewhere: Path) -> None:
    change, message = LIES[lie]
    with pytest.raises(ImageError, match=message):
        read(packed(change(members(exported))))
    assert not list(elsewhere.glob("images/*"))
    assert not list(elsewhere.glob("tags/*"))
    assert not list(elsewhere.rglob(".*"))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "attributes",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "manifest.json"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.DIRTYPE},
        {"type": tarfile.GNUTYPE_SPARSE},
        {"type": tarfile.XHDTYPE},
        {"size": 10},
    ],
    ids=str,
)
def test_member_that_is_no_plain_file_is_refused(
    attributes: dict[str, Any], exported: bytes, elsewhere: Path
) -> None:
    with pytest.raises(ImageError, match="damaged image"):
        read(packed(members(exported), **attributes))
    assert not list(elsewhere.glob("images/*"))


def test_incomplete_or_damaged_file_is_refused_and_removed(
    exported: bytes, elsewhere: Path
) -> None:
    for length in (0, 3, 100, len(exported) // 2, len(exported) - 1):
        with pytest.raises(ImageError, match=r"cut short|is no exported image"):
            read(exported[:length])
    for at in range(0, len(exported), len(exported) // 20):
        flipped = bytearray(exported)
        flipped[at] ^= 0x10
        with pytest.raises(ImageError):
            read(bytes(flipped))
    for other in (b"not zstd", exported + b"more", b"\x1f\x8b" + bytes(100)):
        with pytest.raises(ImageError, match="is no exported image"):
            read(other)
    assert not list(elsewhere.glob("images/*"))
    assert not list(elsewhere.rglob(".*"))


@pytest.mark.thorough
@pytest.mark.usefixtures("elsewhere")
def test_compression_bomb_is_refused(exported: bytes, elsewhere: Path) -> None:
    library = zstd_module()
    frame = library.compress(bytes(64 << 20))
    plain = library.decompress(exported)
    for bomb in (frame * 64, library.compress(plain) + frame * 64):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(ImageError):
            read(bomb)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
    wide = {
        library.CompressionParameter.window_log: 27,
        library.CompressionParameter.enable_long_distance_matching: 1,
    }
    with pytest.raises(ImageError, match="is no exported image"):
        read(library.compress(plain + bytes(200 << 20), options=wide))
    assert not list(elsewhere.glob("images/*"))


@pytest.mark.usefixtures("elsewhere")
def test_the_limit_on_its_size_can_be_raised(exported: bytes, image: Image) -> None:
    says = r"of at most \S+( bytes)? \(if you trust it, raise the limit: `microvm image import"
    with pytest.raises(ImageError, match=says):
        read(exported, limit=image.size - 1)
    assert read(exported, limit=image.size)[0].manifest == image.manifest


def test_export_of_a_changing_image_fails(image: Image) -> None:
    data = bytearray(image.initramfs.read_bytes())
    data[-1] ^= 1
    image.initramfs.chmod(0o644)
    image.initramfs.write_bytes(data)
    with pytest.raises(ImageError, match=r"initramfs.cpio: damaged image: it has changed"):
        export.write(image, io.BytesIO())
    image.initramfs.write_bytes(data[:-1])
    with pytest.raises(ImageError, match="cut short"):
        export.write(image, io.BytesIO())


@pytest.fixture
def small_cache(elsewhere: Path) -> Iterator[Path]:
    """Return a cache on a file system of 1 MiB."""
    with small_disk(elsewhere, "1m"):
        yield elsewhere


def test_full_disk_is_reported(
    exported: bytes, small_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filler = small_cache / "filler"
    filler.write_bytes(bytes(500 << 10))
    with pytest.raises(CacheError, match=r"disk full: .* are free in .*prune"):
        read(exported)
    monkeypatch.setattr(
        export, "_check_size", lambda *_: None
    )  # other processes may fill it during the import
    with pytest.raises(CacheError, match="disk full while writing"):
        read(exported)
    assert not list(small_cache.glob("images/*"))
    assert not list(small_cache.rglob(".*"))
    filler.unlink()
    found, _ = read(exported)
    (small_cache / "filler").write_bytes(bytes(shutil.disk_usage(small_cache).free))
    with pytest.raises(CacheError, match="disk full"):
        tags.assign("full", found.name)
    assert "full:latest" not in tags.all_tags()
    assert not list(small_cache.rglob(".*"))
    assert remove("app").image == ""  # this needs no free space
