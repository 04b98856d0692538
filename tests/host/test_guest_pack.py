"""Tests of the files of a guest pack that are accepted or refused."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from hashlib import sha256
from pathlib import Path

import pytest

from microvm import arches, guest_pack
from microvm._version import __version__
from microvm.errors import ImageError
from microvm.guest_pack import KERNEL, MANIFEST, PROGRAMS

ROOT = Path(__file__).parents[2]
FIND = """
from microvm import arches, guest_pack
print(guest_pack.manifest(arches.find("aarch64")))
"""
"""A Python program that prints the path of the manifest of the guest pack that it finds."""

ARCH = arches.find("aarch64")  # no test has a pack of this processor installed
SCHEMA = "0123456789abcdef"


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / guest_pack.module(ARCH)
    (folder / PROGRAMS).mkdir(parents=True)
    (folder / PROGRAMS / "init").write_bytes(b"init")
    (folder / "__init__.py").touch()
    part = {"of": "digest", "files": {"init": sha256(b"init").hexdigest()}}
    manifest = {"version": "0.0.1", "schema": SCHEMA, "parts": {PROGRAMS: part}}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    return folder


@pytest.mark.parametrize(("name", "digest"), [(PROGRAMS, "another"), (KERNEL, "digest")])
def test_missing_or_other_part_of_a_pack_is_none(pack: Path, name: str, digest: str) -> None:
    assert guest_pack.part(ARCH, name, digest) is None
    assert guest_pack.files(ARCH, name, digest, ["init"]) == {}


def test_missing_or_empty_pack_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest_pack.check(ARCH, SCHEMA)
    assert guest_pack.part(ARCH, PROGRAMS, "digest") is None
    (tmp_path / guest_pack.module(ARCH)).mkdir()
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path)])
    assert guest_pack.manifest(ARCH) is None


def found(python: str | Path, folder: Path, **environment: str) -> str:
    """Return the path of the manifest that a process in a working folder finds."""
    environment = {"PATH": os.environ["PATH"], **environment}
    command = [str(python), "-c", FIND]
    return subprocess.check_output(command, cwd=folder, env=environment, text=True).strip()


def test_a_pack_in_the_working_folder_is_not_used(pack: Path) -> None:
    assert found(sys.executable, pack.parent) == "None"


def test_a_pack_in_a_folder_of_pythonpath_is_not_used(pack: Path, tmp_path: Path) -> None:
    assert found(sys.executable, tmp_path, PYTHONPATH=str(pack.parent)) == "None"


@pytest.mark.parametrize("user", [False, True])
def test_a_pack_is_found_beside_an_editable_install(pack: Path, tmp_path: Path, user: bool) -> None:
    """A pack is installed in the folder of the environment, or in the folder of the user."""
    where = tmp_path / "environment"
    venv.create(where, system_site_packages=user, symlinks=True)
    python, base = where / "bin" / "python", str(tmp_path / "base")
    asked = "site.getusersitepackages()" if user else "site.getsitepackages()[0]"
    command = [str(python), "-c", f"import site; print({asked})"]
    text = subprocess.check_output(command, env={"PYTHONUSERBASE": base}, text=True)
    folder = Path(text.strip())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "editable.pth").write_text(f"{ROOT / 'host'}\n")
    pack.rename(folder / pack.name)
    found_there = found(python, tmp_path, PYTHONUSERBASE=base)
    assert found_there == str(folder / pack.name / MANIFEST)


@pytest.mark.usefixtures("pack")
def test_another_protocol() -> None:
    guest_pack.check(ARCH, SCHEMA)
    with pytest.raises(ImageError, match=rf"0\.0\.1 speaks protocol {SCHEMA}, microvm") as caught:
        guest_pack.check(ARCH, "f" * 16)
    assert f"pip install 'microvm-proto-guest-aarch64=={__version__}'" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"version": 1, "schema": 2, "parts": 3}', "[" * 9000]
)
def test_a_damaged_manifest(pack: Path, text: str) -> None:
    (pack / MANIFEST).write_text(text)
    for call in (guest_pack.check, lambda of, digest: guest_pack.part(of, PROGRAMS, digest)):
        with pytest.raises(ImageError, match="the guest pack is damaged") as caught:
            call(ARCH, SCHEMA)
        wanted = f"microvm-proto-guest-aarch64=={__version__}"
        assert caught.value.hint == f"pip install --force-reinstall '{wanted}'"


def test_a_file_that_is_gone_or_another_than_was_packed(pack: Path) -> None:
    (pack / PROGRAMS / "init").write_bytes(b"ini")
    with pytest.raises(
        ImageError, match="init: the guest pack is damaged: its content is not the packed one"
    ):
        guest_pack.files(ARCH, PROGRAMS, "digest", ["init"])
    (pack / PROGRAMS / "init").unlink()
    for name in ("init", "sandboxd"):
        with pytest.raises(ImageError, match=rf"{name}: the guest pack is damaged: .*No such file"):
            guest_pack.files(ARCH, PROGRAMS, "digest", [name])
