"""The function that builds the wheel of a guest pack from the pack's compiled parts."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path

from guest_pack import sbom
from guest_pack.component import Component
from guest_pack.parts import BuiltPart, digests
from microvm import guest_pack
from microvm._version import __version__
from microvm.arches import Arch
from microvm.sha256 import sha256
from microvm.system.tools import run
from microvm_image import programs

_HERE = Path(__file__).parent
_LICENSE = _HERE.parents[1] / "LICENSE"

_PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"
description = "The compiled files of guests of microvm for {arch}"
readme = "README.md"
requires-python = ">=3.11"
license = "{license}"
license-files = ["licenses/*"]

[tool.hatch.build.targets.wheel]
packages = ["{module}"]
sbom-files = ["{sbom}"]
"""

_README = """# {name}

The compiled files of guests of microvm for {arch}. With this package and QEMU, `microvm run`
needs no compiler and no network. Version {version} of microvm uses it, and so do other versions
with the same sources. A version with another protocol refuses it.

| component | licence | source |
|---|---|---|
{rows}

The kernel's configuration and changes are in the source distribution of microvm-proto {version},
below image/. With the same compilers, `make guest-pack` builds the same bytes from it.
"""


def build(arch: Arch, parts: Mapping[str, BuiltPart], directory: Path) -> Path:
    """Write the wheel of a guest pack to a folder, and return the path of the wheel.

    The same parts always give the same wheel.

    :raises ImageError: hatchling failed.
    """
    components = sorted(set(chain.from_iterable(part.components for part in parts.values())))
    with tempfile.TemporaryDirectory() as folder:
        _write(arch, parts, components, Path(folder))
        command = [sys.executable, "-P", "-m", "hatchling", "build", "-t", "wheel"]
        run([*command, "-d", str(folder)], what="building the wheel", cwd=Path(folder))
        (made,) = Path(folder).glob("*.whl")
        directory.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(made, directory / made.name))


def _write(
    arch: Arch, parts: Mapping[str, BuiltPart], components: list[Component], folder: Path
) -> None:
    name, module = guest_pack.distribution(arch), guest_pack.module(arch)
    facts = {"name": name, "module": module, "arch": arch.name, "version": __version__}
    for each, part in parts.items():
        (folder / module / each).mkdir(parents=True)
        for file, data in part.files.items():
            (folder / module / each / file).write_bytes(data)
    (folder / module / "__init__.py").write_text(
        f'"""The compiled files of guests of microvm for {arch.name}, which microvm reads."""\n'
    )
    manifest = {
        "version": __version__,
        "schema": programs.schema(),
        "parts": {
            each: {
                "of": digests(arch)[each],
                "files": {file: sha256(data).hexdigest() for file, data in part.files.items()},
            }
            for each, part in parts.items()
        },
    }
    (folder / module / guest_pack.MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    (folder / sbom.NAME).write_text(sbom.write(name, __version__, components))
    licenses = folder / "licenses"
    licenses.mkdir()
    for license_file in (_LICENSE, *sorted((_HERE / "licenses").iterdir())):
        (licenses / license_file.name).write_bytes(license_file.read_bytes())
    (folder / "README.md").write_text(_README.format(rows=_rows(components), **facts))
    project = _PROJECT.format(license=_license(components), sbom=sbom.NAME, **facts)
    (folder / "pyproject.toml").write_text(project)


def _license(components: Iterable[Component]) -> str:
    """Return an SPDX expression that combines the licences of all components."""
    licenses = chain.from_iterable(each.license.split(" AND ") for each in components)
    return " AND ".join(sorted(set(licenses)))


def _rows(components: Iterable[Component]) -> str:
    rows = ((f"{each.name} {each.version}", each.license, each.source) for each in components)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
