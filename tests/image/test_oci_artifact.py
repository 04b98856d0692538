"""Tests of OCI artifacts in Debian's docker-registry, and in registries that send wrong data."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tests.image import mirror, oci

from microvm.errors import ImageError
from microvm_image import download_speed, oci_artifact, skopeo

pytestmark = pytest.mark.thorough

DATA = random.Random(1).randbytes(1 << 20)
LIMIT = len(DATA)


def write(out: BinaryIO) -> None:
    out.write(DATA)


def pulled(text: str, limit: int = LIMIT) -> bytes:
    with oci_artifact.pull(text, limit) as file:
        return file.read()


def test_push_stores_the_same_bytes_and_only_once(
    registry: str, cache: Path, leftovers: Callable[[], list[str]]
) -> None:
    text = f"docker://{registry}/mine/exports:1"
    with pytest.raises(skopeo.MissingError, match=r"cannot get.*check the name"):
        pulled(text)
    oci_artifact.push(text, write)
    assert pulled(text) == DATA
    oci_artifact.push(text, lambda _: pytest.fail("it is there"))
    assert leftovers() == []
    assert [*(cache / "downloads").iterdir()] == []


def test_push_replaces_no_other_artifact(registry: str, tmp_path: Path) -> None:
    layout = oci.layout(tmp_path / "layout")
    text = f"docker://{registry}/theirs:1"
    oci.run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest", text)
    for use in (pulled, lambda text: oci_artifact.push(text, write)):
        with pytest.raises(ImageError, match=r"has something else.*a repository"):
            use(text)


def test_push_fails_if_the_registry_refuses(tmp_path: Path, cache: Path) -> None:
    with (
        oci.registry(tmp_path, user=oci.USER) as address,
        pytest.raises(ImageError, match=r"cannot get.*docker login"),
    ):
        oci_artifact.push(f"docker://{address}/a:1", write)
    with pytest.raises(ImageError, match=r"cannot get.*check the name of the registry"):
        oci_artifact.push(f"docker://{address}/a:1", write)
    assert [*(cache / "downloads").iterdir()] == []


class Liar:
    """A registry with an artifact, which can send another manifest or layer.

    :ivar text: The reference of the artifact.
    :ivar layer: The path of its layer.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        oci_artifact._lay_out(folder, write)
        self.files = {
            f"v2/a/blobs/sha256:{path.name}": path.read_bytes() for path in folder.iterdir()
        }
        self.files["v2/"] = b"{}"
        self.lies: dict[str, mirror.Lie] = {}
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.layer = f"v2/a/blobs/{self.manifest['layers'][0]['digest']}"
        self.text = ""
        self.say({})

    def say(self, changes: dict[str, Any]) -> None:
        """Change members of the manifest."""
        data = json.dumps(self.manifest | changes).encode()
        for name in ("1", f"sha256:{hashlib.sha256(data).hexdigest()}"):
            self.files[f"v2/a/manifests/{name}"] = data


@pytest.fixture
def liar(tmp_path: Path) -> Iterator[Liar]:
    made = Liar(tmp_path / "artifact")
    with mirror.serving(made.files, made.lies) as address:
        made.text = f"docker://{address.removeprefix('http://')}/a:1"
        yield made


def silent(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """Send half of the file, and then nothing until the client disconnects."""
    mirror.send(handler, data[: len(data) // 2], len(data))
    handler.connection.recv(1)


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (mirror.changed, r"sha256:\w{64}.*sha256:\w{64}"),
        (mirror.truncated, r"sha256:\w{64}.*sha256:\w{64}"),
        (mirror.endless, "sends more than the manifest says"),
        (silent, r"too slow: less than .*try again later"),
        (mirror.trickled, r"too slow: less than .*try again later"),
    ],
)
def test_pull_refuses_another_answer(
    liar: Liar, cache: Path, lie: mirror.Lie, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert pulled(liar.text) == DATA
    liar.lies[liar.layer] = lie
    if lie in {silent, mirror.trickled}:
        monkeypatch.setattr(download_speed, "WINDOW", 0.5)
    with pytest.raises(ImageError, match=says):
        pulled(liar.text)
    assert [*(cache / "downloads").iterdir()] == []


LAYER = {"mediaType": oci_artifact.LAYER_TYPE, "digest": f"sha256:{'0' * 64}", "size": 1}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"artifactType": "application/vnd.example"}, "has something else"),
        ({"layers": [LAYER | {"mediaType": "application/vnd.example"}]}, "has something else"),
        ({"layers": []}, "has something else"),
        ({"layers": [LAYER] * 2}, "has something else"),
        ({"layers": [LAYER | {"size": LIMIT + 1}]}, "has 1048577 bytes, of at most 1M"),
        ({"layers": [LAYER]}, "cannot get"),
    ],
)
def test_pull_refuses_another_manifest(liar: Liar, changes: dict[str, Any], says: str) -> None:
    liar.say(changes)
    with pytest.raises(ImageError, match=says):
        pulled(liar.text)


def test_pull_refuses_a_layer_of_another_size(liar: Liar) -> None:
    (layer,) = liar.manifest["layers"]
    liar.say({"layers": [layer | {"size": LIMIT - 1}]})
    with pytest.raises(ImageError, match=r"cannot get|damaged"):
        pulled(liar.text)
