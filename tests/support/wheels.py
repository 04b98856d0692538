"""Small wheels and source archives of Python packages, and an index of them in a folder."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest


def wheel(
    folder: Path,
    name: str,
    version: str = "1",
    *,
    tag: str = "py3-none-any",
    needs: Sequence[str] = (),
    files: Mapping[str | zipfile.ZipInfo, str | bytes] | None = None,
    metadata: str = "",
) -> Path:
    """Write a wheel with one module to a folder, and return the path of the wheel.

    :param needs: Requirements on other packages.
    :param files: Further members of the archive.
    :param metadata: A text that is added to the description of the package.
    """
    info = f"{name}-{version}.dist-info"
    required = "".join(f"Requires-Dist: {each}\n" for each in needs)
    members: dict[str | zipfile.ZipInfo, str | bytes] = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{required}"
        f"{metadata}",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **(files or {}),
    }
    names = (each if isinstance(each, str) else each.filename for each in members)
    members[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*names, f"{info}/RECORD"])
    path = folder / f"{name}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            info_of = member if isinstance(member, zipfile.ZipInfo) else zipfile.ZipInfo(member)
            archive.writestr(info_of, content, zipfile.ZIP_DEFLATED)
    return path


def source_archive(folder: Path, name: str, setup: str) -> None:
    """Write a source archive to a folder. A build of the package runs the program `setup`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{name}-1.tar.gz", "w:gz") as archive:
        for path, text in (
            ("setup.py", setup),
            ("PKG-INFO", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"),
        ):
            info = tarfile.TarInfo(f"{name}-1/{path}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))


def use_index(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pip find packages only in a folder, whatever its configuration on this host says."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.delenv("PIP_CONSTRAINT", raising=False)
