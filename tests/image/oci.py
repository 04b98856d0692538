"""Stored images for tests, which umoci and skopeo write, and a registry on the loopback."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.polling import eventually

REGISTRY = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: 127.0.0.1:{port}}}
{auth}
"""
HTPASSWD = "auth: {{htpasswd: {{realm: test, path: {path}}}}}"

#: The password `secret` of the user `user`, hashed by bcrypt.
USER = "user:$2b$04$gdQganmnWZST3wBLVmVBHeUi7.u6z9Cs8uYbURrXdGtDLjaZ0zL1q"


def run(*argv: object, **options: Any) -> str:
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def layout(path: Path, *layers: bytes, tag: str = "latest", config: tuple[str, ...] = ()) -> Path:
    """Write an OCI layout with layers, with the options of `umoci config`."""
    if not path.exists():
        run("umoci", "init", "--layout", path)
    image = f"{path}:{tag}"
    run("umoci", "new", "--image", image)
    for number, data in enumerate(layers):
        archive = path.with_name(f"{path.name}-{number}.tar")
        archive.write_bytes(data)
        run("umoci", "raw", "add-layer", "--image", image, archive)
        archive.unlink()
    if config:
        run("umoci", "config", "--image", image, *config)
    return path


def put(path: Path, value: Any) -> dict[str, Any]:
    """Store a JSON blob in a layout, and return its descriptor."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    (path / "blobs/sha256" / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def blob(path: Path, descriptor: dict[str, Any]) -> Path:
    return path / "blobs/sha256" / str(descriptor["digest"]).removeprefix("sha256:")


def index(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "index.json").read_text())
    return found


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(blob(path, index(path)["manifests"][0]).read_text())
    return found


def replace_manifest(path: Path, changed: Any) -> None:
    """Replace the only image of a layout by another manifest, with the right digest."""
    (path / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [put(path, changed)]})
    )


@contextmanager
def registry(folder: Path, *, user: str = "") -> Iterator[str]:
    """Run Debian's docker-registry, and yield its HOST:PORT; `user` is a line for htpasswd."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    auth = ""
    if user:
        (folder / "htpasswd").write_text(f"{user}\n")
        auth = HTPASSWD.format(path=folder / "htpasswd")
    settings = folder / "registry.yml"
    settings.write_text(REGISTRY.format(root=folder / "registry", port=port, auth=auth))
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with subprocess.Popen(
        ["docker-registry", "serve", settings],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as server:
        try:
            eventually(lambda: _answers(port))
            yield f"127.0.0.1:{port}"
        finally:
            server.kill()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
