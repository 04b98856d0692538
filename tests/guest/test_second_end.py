"""Tests that an implementation in Rust, written from `protocol/SPEC.md`, agrees with our codec."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import vectors
from tests.support.vectors import Vector

from microvm.wire import codec

pytestmark = pytest.mark.thorough

SOURCE = Path(__file__).parents[1] / "second_end"
SCENES = re.findall(r'^    \("(\w+)", \w+\),$', (SOURCE / "scenes.rs").read_text(), re.M)
assert SCENES
VECTORS = vectors.load(vectors.COMMITTED)
VALID = [vector for vector in VECTORS if not vector.fault]
WHOLE = 1 << 32

Read = Callable[..., Iterator[dict[str, Any]]]


def _works(compiler: str) -> bool:
    if shutil.which(compiler) is None:
        return False
    return not subprocess.run([compiler, "--version"], capture_output=True, check=False).returncode


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # The rustc of rustup may have no compiler, so the compiler of Debian is tried, too.
    compiler = next(filter(_works, ("rustc", "/usr/bin/rustc")), None)
    if compiler is None:
        pytest.skip("rustc is not installed")
    program = tmp_path_factory.mktemp("second_end") / "second_end"
    options = "--edition 2021 -O -D warnings".split()
    subprocess.run([compiler, *options, "-o", program, SOURCE / "main.rs"], check=True)
    return program


@pytest.fixture
def read(program: Path) -> Read:
    """A function that lets the program read the frames of vectors, and write them again."""

    def read(
        frames: list[Vector],
        version: int = codec.VERSION,
        written: int = codec.VERSION,
        piece: int = WHOLE,
    ) -> Iterator[dict[str, Any]]:
        lines = "".join(f"{vector.sender} {vector.frame.hex()}\n" for vector in frames)
        command = [str(program), "read", *map(str, (version, written, piece))]
        done = subprocess.run(command, input=lines, stdout=subprocess.PIPE, text=True, check=True)
        return map(json.loads, done.stdout.splitlines())

    return read


@pytest.mark.parametrize("piece", [1, WHOLE])
def test_vectors_are_read_and_written_unchanged(read: Read, piece: int) -> None:
    for vector, answer in zip(VECTORS, read(VECTORS, piece=piece), strict=True):
        assert answer == expected(vector), vector.name


def expected(vector: Vector) -> dict[str, Any]:
    """Return the expected output of the program for a vector."""
    if vector.fault:
        return dict(zip(("code", "offset", "field"), vector.fault, strict=True))
    return {
        "message": vector.message,
        "id": vector.id,
        "fields": {name: in_json(value) for name, value in vector.fields.items()},
        "written": vector.frame.hex(),
    }


def in_json(value: int | bytes | tuple[bytes, ...]) -> object:
    """Return the expected output of the program for a field."""
    match value:
        case int():
            return value
        case bytes():
            return value.hex()
    return [item.hex() for item in value]


@pytest.mark.parametrize("version", range(1, codec.VERSION))
def test_older_versions_are_read_as_by_the_library(read: Read, version: int) -> None:
    """Newest frames contain values that older versions must refuse or leave out."""
    for vector, answer in zip(VECTORS, read(VECTORS, version, version), strict=True):
        assert answer.items() >= ours(vector, version, version).items(), vector.name
    for vector, answer in zip(VALID, read(VALID, written=version), strict=True):
        assert answer.items() >= ours(vector, codec.VERSION, version).items(), vector.name


def ours(vector: Vector, version: int, written: int) -> dict[str, Any]:
    """Decode the frame of a vector in one version, and encode it in another, with our codec."""
    decoder = codec.Decoder(vector.sender, version)
    decoder.receive_data(vector.frame)
    try:
        message = decoder.next_message()
        assert message
        return {"written": message.encode(written).hex()}
    except codec.DecodeError as error:
        return {"code": error.fault, "offset": error.offset, "field": error.field_number}
    except codec.EncodeError:
        return {"written": None}


@pytest.mark.parametrize("scene", SCENES)
def test_second_implementation_plays_the_scenes(program: Path, binary: Path, scene: str) -> None:
    subprocess.run([program, "play", scene, binary], check=True)
