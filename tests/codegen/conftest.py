"""Fixtures that run the generator in this process, with output in a folder of the test."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner, Result
from tests.support.emitted import emitted
from tests.support.made_once import made_once

from microvm_proto.cli import main
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import ROOT, SANDBOXD, Generated, Load, Read, Run

FRAMED = """
[protocol]
name = "framed"
version = 1
ends = ["host", "device"]
doc = "Frames as a microcontroller sends them."

[framing]
{}

[[message]]
name = "measured"
number = 3
sender = "device"
id = "any"
doc = "A value."

[[message.field]]
name = "value"
type = "u32"
doc = "In some unit."
"""


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment that contains only our wheel."""

    def install(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
        build = ["wheel", "--no-deps", "--no-build-isolation", f"--wheel-dir={folder}", str(ROOT)]
        subprocess.run([*pip, *build], check=True)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        (wheel,) = folder.glob("*.whl")
        pip[0] = os.fspath(folder / "venv/bin/python")
        subprocess.run([*pip, "install", wheel], check=True)

    return made_once(tmp_path_factory, "bare", install) / "venv/bin"


@pytest.fixture
def run() -> Run:
    """A function that runs `microvm-proto`, which must not raise an unexpected exception."""

    def run(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(main, [os.fspath(argument) for argument in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture(scope="session")
def schema() -> Schema:
    """The schema of the daemon."""
    return read_schema(SANDBOXD)


@pytest.fixture
def in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the root of the project the working folder."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's settings, schema and generated files, as the working folder."""
    paths = ["pyproject.toml", "protocol/sandboxd.toml"]
    schema = read_schema(ROOT / paths[1])
    paths += ["protocol/sandboxd.released.toml"]
    paths += [os.path.relpath(output.path, ROOT) for output in schema.outputs]
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """A function that writes a schema through every backend into a folder, once for each schema."""
    folders: dict[Path, Path] = {}

    def generated(path: Path) -> Path:
        if path not in folders:
            folder = folders[path] = tmp_path_factory.mktemp(path.stem)
            schema = read_schema(path)
            outputs = {
                "codec.py": ("python", "fast"),
                "plain.py": ("python", "plain"),
                "protocol.h": ("c", "inline"),
                "table.h": ("c", "table"),
                "SPEC.md": ("markdown", ""),
                "vectors.json": ("vectors", ""),
                "messages.py": ("strategies", ""),
                "dissector.lua": ("wireshark", ""),
            }
            for name, (backend, style) in outputs.items():
                for file, text in emitted(backend, schema, name, style).items():
                    (folder / file).write_text(text)
        return folders[path]

    return generated


@pytest.fixture(scope="session")
def load() -> Iterator[Load]:
    """A function that imports a generated codec."""
    loaded: dict[Path, ModuleType] = {}

    def load(path: Path) -> ModuleType:
        if path not in loaded:
            name = f"generated_codec_{len(loaded)}"
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec
            assert spec.loader
            module = loaded[path] = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        return loaded[path]

    yield load
    for module in loaded.values():
        del sys.modules[module.__name__]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """A function that reads a schema from text."""

    def read(text: str) -> Schema:
        path = tmp_path / "schema.toml"
        path.write_text(text)
        return read_schema(path)

    return read


@pytest.fixture
def framed(read: Read) -> Read:
    """A function that returns a schema of one message with these keys in its `[framing]`."""
    return lambda keys: read(FRAMED.format(keys))
