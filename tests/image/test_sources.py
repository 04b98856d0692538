"""Tests of the sources of images: archives, folders, OCI layouts, docker archives, registries."""

from __future__ import annotations

import base64
import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from tests.image import oci
from tests.image.layers import file, folder, hard, link, shown, tar
from tests.image.mirror import answering, trickled

from microvm import arches
from microvm.errors import ImageError
from microvm.images.config import ImageConfig
from microvm.progress import LineReporter, NullReporter
from microvm.zstd import zstd_module
from microvm_image import skopeo
from microvm_image.build import build
from microvm_image.limits import Limits
from microvm_image.recipe import Recipe
from microvm_image.source import ImageSource
from microvm_image.sources.find import find

ARCH = arches.find("x86_64")
LOWER = tar(folder("etc"), file("etc/a", b"1"), file("etc/b", b"1"), folder("d"), file("d/x", b"1"))
UPPER = tar(file("etc/.wh.a"), file("d/.wh..wh..opq"), file("d/y", b"2"), hard("etc/c", "etc/b"))
SEEN = {"etc": "/", "etc/b": "1", "etc/c": "1", "d": "/", "d/y": "2"}
CONFIG = ("--config.env=A=b", "--config.workingdir=/srv", "--config.user=1:2", "--config.cmd=run")


def found(text: object, limits: Limits | None = None) -> tuple[ImageSource, dict[str, str]]:
    given = find(str(text), ARCH, limits=limits, report=NullReporter())
    with given as source, source.tree(limits) as tree:
        return source, shown(tree)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """Return an OCI layout of two layers, the upper one with whiteouts."""
    return oci.layout(tmp_path / "layout", LOWER, UPPER, config=CONFIG)


@pytest.mark.parametrize(
    "pack", [bytes, gzip.compress, lzma.compress, zstd_module().compress, bz2.compress]
)
def test_a_root_file_system_as_tar(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "rootfs"
    path.write_bytes(pack(LOWER))
    source, seen = found(path)
    assert seen["etc/a"] == "1"
    assert source.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.pinned == f"rootfs@sha256:{source.digest}"
    for cut in (min(700, len(path.read_bytes()) * 2 // 3), 40, 3):
        path.write_bytes(pack(LOWER)[:cut])
        with pytest.raises(ImageError, match=r"damaged|cut short"):
            found(path)
    path.write_bytes(pack(b"no archive" * 1000))
    with pytest.raises(ImageError, match="damaged"):
        found(path)


def test_streams_of_more_than_one_part(tmp_path: Path) -> None:
    path = tmp_path / "rootfs"
    for pack in (gzip.compress, lzma.compress, zstd_module().compress):
        path.write_bytes(pack(LOWER[:700]) + pack(LOWER[700:]) + bytes(4096))
        assert found(path)[1]["etc/a"] == "1"


@pytest.mark.parametrize(
    "pack", [gzip.compress, lzma.compress, zstd_module().compress, bz2.compress]
)
def test_bomb_is_refused_early(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(pack(tar(file("zeros", bytes(3 << 20)))))
    with pytest.raises(ImageError, match=r"more than 2M unpacked.*build --limit unpacked=N"):
        found(path, Limits(unpacked=2 << 20))
    with pytest.raises(ImageError, match="times its compressed size"):
        found(path, Limits(ratio=20, unsuspected=1 << 20))


def test_a_folder(tmp_path: Path) -> None:
    top = tmp_path / "root"
    (top / "bin").mkdir(parents=True, mode=0o711)
    (top / "bin/a").write_text("text")
    (top / "bin/a").chmod(0o4750)
    (top / "bin/b").hardlink_to(top / "bin/a")
    (top / "out").symlink_to("/etc/../passwd")
    os.mkfifo(top / "pipe")
    os.utime(top / "bin/a", (5, 5))
    with socket.socket(socket.AF_UNIX) as left_out:
        left_out.bind(str(top / "s"))
    source, seen = found(top)
    assert seen == {
        "bin": "/",
        "bin/a": "text",
        "bin/b": "text",
        "out": "-> /etc/../passwd",
        "pipe": "p",
    }
    assert source.pinned == f"root@sha256:{source.digest}"
    with find(str(top), ARCH, report=NullReporter()) as again, again.tree() as tree:
        assert again.digest == source.digest
        nodes = dict(tree.walk())
        assert nodes["bin/a"] is nodes["bin/b"]
        assert (nodes["bin/a"].mode & 0o7777, nodes["bin/a"].mtime) == (0o4750, 5)
        assert (nodes["bin/a"].uid, nodes["bin/a"].gid) == (0, 0)
        (top / "bin/a").write_text("TEXT")
        with pytest.raises(ImageError, match="has changed while"):
            tree.write_tar(io.BytesIO().write)
    assert found(top)[0].digest != source.digest


@pytest.mark.thorough
def test_an_oci_layout(layout: Path, tmp_path: Path) -> None:
    source, seen = found(layout)
    assert seen == SEEN
    assert source.config == ImageConfig(("A=b",), "/srv", "1:2", (), ("run",))
    digest = oci.index(layout)["manifests"][0]["digest"]
    assert source.pinned == f"layout@{digest}"
    assert f"sha256:{source.digest}" == digest
    oci.run("tar", "-C", layout, "-cf", tmp_path / "layout.tar", ".")
    assert found(tmp_path / "layout.tar")[1] == SEEN
    oci.run("gzip", tmp_path / "layout.tar")
    assert found(tmp_path / "layout.tar.gz")[0].digest == source.digest


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive"])
def test_archive_of_docker_save_and_podman_save(
    layout: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "saved.tar"
    oci.run("skopeo", "copy", f"oci:{layout}:latest", f"{form}:{path}:name:1")
    source, seen = found(path)
    assert seen == SEEN
    assert source.config.cmd == ("run",)
    assert found(path)[0].digest == source.digest
    with path.open("rb") as saved:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(saved))
        piped, seen = found("-")
    assert (piped.digest, seen) == (source.digest, SEEN)


def _save(path: Path, layers: list[bytes], **changed: Any) -> Path:
    """Write an archive as older versions of `docker save` do, with links to equal layers."""
    diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in layers]
    config = json.dumps({"architecture": "amd64", "rootfs": {"diff_ids": diff_ids}}).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    ids = [f"{number:064x}" for number in range(len(layers))]
    entry = {"Config": name, "RepoTags": ["a:1"], "Layers": [f"{one}/layer.tar" for one in ids]}
    parts = [
        link(f"{one}/layer.tar", f"../{ids[0]}/layer.tar")
        if data == layers[0] and number
        else file(f"{one}/layer.tar", data)
        for number, (one, data) in enumerate(zip(ids, layers, strict=True))
    ]
    index = json.dumps([entry | changed]).encode()
    path.write_bytes(tar(*parts, file(name, config), file("manifest.json", index)))
    return path


def test_archive_of_older_docker_save(tmp_path: Path) -> None:
    assert found(_save(tmp_path / "old.tar", [LOWER, UPPER, LOWER]))[1] == SEEN | {
        "etc/a": "1",
        "d/x": "1",
    }


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"Layers": []}, "has 0 layers, its config 2"),
        ({"Layers": ["../../etc/passwd", "/etc/passwd"]}, "leads out"),
        ({"Layers": ["nowhere", "x"]}, "there is no nowhere"),
        ({"Layers": "x"}, "Layers has the wrong type"),
        ({"Layers": [f"{1:064x}/layer.tar", f"{0:064x}/layer.tar"]}, "wrong digest"),
        ({"Config": "manifest.json"}, "a value is not an object"),
        ({"Config": None}, "there is no "),
    ],
)
def test_wrong_archive_is_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ImageError, match=says):
        found(_save(tmp_path / "old.tar", [LOWER, UPPER], **changed))


@pytest.mark.thorough
def test_one_of_several_images_is_chosen(layout: Path, tmp_path: Path) -> None:
    oci.layout(layout, LOWER, tag="other")
    with pytest.raises(ImageError, match=r"more than one image: 'latest', 'other'.*oci:PATH:NAME"):
        found(layout)
    assert found(f"oci:{layout}:latest")[1] == SEEN
    assert found(f"oci:{layout}:other")[1]["etc/a"] == "1"
    with pytest.raises(ImageError, match="there is no image 'none'"):
        found(f"oci:{layout}:none")
    path = tmp_path / "both.tar"
    entries = [{"Config": "c", "RepoTags": [name], "Layers": []} for name in ("a:1", "b:latest")]
    config = json.dumps({"rootfs": {"diff_ids": []}}).encode()
    path.write_bytes(tar(file("manifest.json", json.dumps(entries).encode()), file("repositories")))
    with pytest.raises(ImageError, match="more than one image: a:1, b:latest"):
        found(path)
    parts = [file("manifest.json", json.dumps(entries).encode()), file("blobs/c", config)]
    path.write_bytes(tar(*parts).replace(b'"c"', b'"b"'))
    with pytest.raises(ImageError, match="there is no b in it"):
        found(f"docker-archive:{path}:b")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "form", "other"),
    [("oci", "oci-archive", "docker-archive"), ("docker-archive", "docker-archive", "oci")],
)
def test_the_only_image_needs_no_name(
    layout: Path, tmp_path: Path, kind: str, form: str, other: str
) -> None:
    name = "localhost/name:1"
    oci.run("skopeo", "copy", f"oci:{layout}:latest", f"{form}:{tmp_path / 'saved.tar'}:{name}")
    path = (tmp_path / "saved.tar").rename(tmp_path / "with:colon.tar")
    assert found(f"{kind}:{path}")[1] == SEEN
    assert found(f"{kind}:{path}:{name}")[1] == SEEN
    with pytest.raises(ImageError, match=r"with:colon.tar: is no .*a path without a prefix"):
        found(f"{other}:{path}")


@pytest.mark.thorough
def test_the_architecture_is_chosen_out_of_nested_indexes(layout: Path) -> None:
    amd64 = oci.index(layout)["manifests"][0]
    other = oci.layout(layout.with_name("other"), LOWER)
    config = json.loads(oci.blob(other, oci.manifest(other)["config"]).read_text())
    arm64 = oci.manifest(other) | {"config": oci.put(layout, config | {"architecture": "arm64"})}
    shutil.copytree(other / "blobs", layout / "blobs", dirs_exist_ok=True)

    def platform(name: str) -> dict[str, Any]:
        return {"platform": {"os": "linux", "architecture": name}}

    attested = {"annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    nested = {
        "manifests": [
            oci.put(layout, arm64) | platform("arm64"),
            amd64 | platform("amd64"),
            oci.put(layout, {}) | platform("unknown") | attested,
        ]
    }
    top = {"manifests": [oci.put(layout, nested)]}
    (layout / "index.json").write_text(json.dumps(top))
    assert found(layout)[1] == SEEN
    with find(str(layout), arches.find("aarch64"), report=NullReporter()) as source:
        assert len(source.layers) == 1
    nested["manifests"] = nested["manifests"][:1]
    (layout / "index.json").write_text(json.dumps({"manifests": [oci.put(layout, nested)]}))
    with pytest.raises(ImageError, match=r"is not for x86_64, but for arm64.*--arch"):
        found(layout)
    (layout / "index.json").write_text(json.dumps({"manifests": [oci.put(layout, arm64)]}))
    with pytest.raises(ImageError, match="is for linux/arm64, not for x86_64"):
        found(layout)
    value: Any = nested
    for _ in range(5):
        value = {"manifests": [oci.put(layout, value)]}
    (layout / "index.json").write_text(json.dumps(value))
    with pytest.raises(ImageError, match="nested too deeply"):
        found(layout)


def _lie(**changed: Any) -> Callable[[Path], None]:
    return lambda path: oci.replace_manifest(path, oci.manifest(path) | changed)


def _layers(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = oci.manifest(path)["layers"]
    return found


def _first(path: Path) -> Path:
    return oci.blob(path, _layers(path)[0])


def _flip(path: Path) -> None:
    data = bytearray(_first(path).read_bytes())
    data[len(data) // 2] ^= 1
    _first(path).write_bytes(data)


def _config(value: dict[str, Any]) -> Callable[[Path], None]:
    return lambda path: _lie(config=oci.put(path, value), layers=[])(path)


def _layer(digest: str, size: object) -> Callable[[Path], None]:
    return _lie(layers=[{"digest": digest, "size": size}] * 2)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (_flip, "wrong digest"),
        (lambda path: os.truncate(_first(path), _first(path).stat().st_size - 10), "bytes, not"),
        (lambda path: _first(path).unlink(), "cannot read blobs"),
        (lambda path: _lie(layers=_layers(path)[::-1])(path), "wrong digest"),
        (
            lambda path: oci.blob(path, oci.manifest(path)["config"]).write_bytes(b"{}"),
            "wrong digest",
        ),
        (lambda path: (path / "index.json").write_bytes(b" " * (5 << 20)), "too long"),
        (lambda path: (path / "index.json").write_bytes(b"[" * 100_000), "damaged"),
        (_lie(layers=[]), "manifest has 0 layers, its config 2"),
        (_layer("sha256:../../etc/passwd", 1), "no valid content"),
        (_layer(f"sha256:{'0' * 64}", -1), "no valid content"),
        (_layer(f"sha256:{'0' * 64}", "1"), "size has the wrong type"),
        (_lie(layers=[1]), "a value is not an object"),
        (lambda path: oci.replace_manifest(path, b"\xff"), "damaged"),
        (lambda path: (path / "index.json").write_text("{}"), "is empty"),
        (_config({}), "is no image"),
        (_config({"rootfs": {"diff_ids": ["x"]}}), "no digest"),
        (_config({"rootfs": {"diff_ids": []}, "config": {"Env": ["x"]}}), "cannot be used"),
    ],
)
def test_wrong_layout_is_refused(layout: Path, lie: Callable[[Path], object], says: str) -> None:
    lie(layout)
    with pytest.raises(ImageError, match=says):
        found(layout)


def _push(layout: Path, reference: str, *options: str) -> None:
    oci.run(
        "skopeo", "copy", "--dest-tls-verify=false", *options, f"oci:{layout}:latest", reference
    )


@pytest.mark.thorough
def test_image_is_pulled_from_a_registry(
    layout: Path, registry: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = f"docker://{registry}/base"
    _push(layout, f"{reference}:1")
    source, seen = found(f"{reference}:1")
    assert seen == SEEN
    assert source.config.workdir == "/srv"
    digest = oci.index(layout)["manifests"][0]["digest"]
    assert source.pinned == f"{reference}:1@{digest}"
    again, seen = found(source.pinned)
    assert (again.pinned, again.digest, seen) == (source.pinned, source.digest, SEEN)
    assert list(cache.rglob("*pull*")) == []
    with find(f"{reference}:1", ARCH, report=LineReporter()):
        pass
    assert "pulling" not in capsys.readouterr().err  # the layers, which have not been read
    with pytest.raises(ImageError, match=r"cannot get.*check the name"):
        found(f"{reference}:2")


@pytest.mark.thorough
def test_a_registry_and_the_users_credentials(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with oci.registry(tmp_path, user=oci.USER) as address:
        reference = f"docker://{address}/private:1"
        _push(layout, reference, "--dest-creds=user:secret")
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        with pytest.raises(ImageError, match=r"cannot get.*docker login"):
            found(reference)
        (tmp_path / ".docker").mkdir()
        basic = base64.b64encode(b"user:secret").decode()
        config = json.dumps({"auths": {address: {"auth": basic}}})
        (tmp_path / ".docker/config.json").write_text(config)
        assert found(reference)[1] == SEEN


def _send(handler: BaseHTTPRequestHandler, status: int, kind: str, data: bytes) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@pytest.mark.thorough
def test_slow_manifest_of_a_registry_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    assert skopeo._SHORT == "--command-timeout=60s"
    monkeypatch.setattr(skopeo, "_SHORT", "--command-timeout=1s")
    with (
        answering(lambda handler: trickled(handler, b" " * 2000)) as address,
        pytest.raises(ImageError, match=r"deadline exceeded.*can reach it"),
    ):
        found(f"docker:{address.removeprefix('http:')}/a:1")


@pytest.mark.thorough
def test_slow_layer_of_a_registry_is_cancelled(layout: Path, cache: Path) -> None:
    manifest, dripped = oci.index(layout)["manifests"][0], _layers(layout)[0]["digest"]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        *_, kind, name = handler.path.rsplit("/", 2)
        if name == dripped:
            trickled(handler, bytes(_layers(layout)[0]["size"]))
        elif kind == "manifests":
            data = oci.blob(layout, manifest).read_bytes()
            _send(handler, 200, manifest["mediaType"], data)
        elif kind == "blobs":
            data = oci.blob(layout, {"digest": name}).read_bytes()
            _send(handler, 200, "application/octet-stream", data)
        else:
            _send(handler, 200, "application/json", b"{}")

    with answering(answer) as address:
        says = r"takes more than 1 s \(if .*`microvm image build --limit seconds=N`"
        with pytest.raises(ImageError, match=says):
            found(f"docker:{address.removeprefix('http:')}/a:1", Limits(seconds=1))
    assert list(cache.rglob("*pull*")) == []


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("status", "data", "says"),
    [
        (200, b"<html></html>", "is no manifest.*check that it is a registry"),
        (200, b"1", "is no manifest.*check that it is a registry"),
        (500, b"<html></html>", "500 Internal Server Error.*try again later"),
        (404, b"<html></html>", r"cannot get.*\("),
    ],
)
def test_server_that_is_no_registry_is_an_error(status: int, data: bytes, says: str) -> None:
    with (
        answering(lambda handler: _send(handler, status, "text/html", data)) as address,
        pytest.raises(ImageError, match=says),
    ):
        found(f"docker:{address.removeprefix('http:')}/a:1")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nothing", "there is no such source.*docker://"),
        ("oci:nothing:tag", "there is no such file or folder.*`oci:PATH:NAME`"),
        ("oci:/nowhere", "oci:/nowhere: there is no such file or folder"),
        ("oci:", "there is no such file or folder"),
        ("docker-archive:typo.tar", "typo.tar: there is no such file.*`docker-archive:PATH`"),
        ("oci:folder", "folder: is no OCI layout"),
        ("oci:rootfs.tar", "rootfs.tar: is no OCI layout"),
        ("docker-archive:rootfs.tar", "is no archive of `docker save`"),
        ("empty.tar", "empty.tar: the archive is empty.*scratch"),
        ("folder.tar", "folder.tar: the archive is empty"),
    ],
)
def test_unknown_source_is_an_error(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "rootfs.tar").write_bytes(LOWER)
    (tmp_path / "empty.tar").write_bytes(bytes(10240))
    (tmp_path / "folder.tar").write_bytes(tar(folder("./")))
    with pytest.raises(ImageError, match=says):
        found(text)


@pytest.mark.parametrize("text", ["", "alpine"])
def test_packages_need_a_distribution_that_has_them(text: str, kernel: Path) -> None:
    with pytest.raises(ImageError, match=r"packages cannot be installed in alpine.*debian:SUITE"):
        build(Recipe(source=text, packages=("python3",)), kernel=kernel)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("docker://127.0.0.1:9/x", "cannot get.*check the name of the registry"),
        ("docker://", "cannot get.*such as docker://"),
    ],
)
def test_missing_registry_is_an_error(text: str, says: str) -> None:
    with pytest.raises(ImageError, match=says):
        found(text)


def test_scratch_is_empty() -> None:
    source, seen = found("scratch")
    assert (source.pinned, seen) == ("scratch", {})
