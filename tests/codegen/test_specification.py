"""Test that the specification suffices: a codec that is built from its text passes every vector."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import vectors
from tests.support.document import Document
from tests.support.document.types import Malformed
from tests.support.emitted import emitted
from tests.support.vectors import Vector

from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

from .common import ROOT, SCHEMAS, TYPES

PATHS = [
    *SCHEMAS,
    *(
        ROOT / path
        for path in ("protocol/files.toml", "protocol/streams.toml", "examples/sensor/sensor.toml")
    ),
]
FRAMINGS = [
    f'kind = "{kind}"\ncheck = "{check}"\n{more}'
    for kind in ("stream", "cobs", "datagram")
    for check, more in (("none", 'type = "u8"'), ("crc16", "sequence = true"), ("crc32c", ""))
]


def check(schema: Schema, folder: Path) -> None:
    """Check every vector of every version."""
    document = Document(emitted("markdown", schema, "SPEC.md")["SPEC.md"])
    for version in schema.versions:
        path = folder / f"{version}.json"
        path.write_text(emitted("vectors", schema.at(version), path.name)[path.name])
        for vector in vectors.load(path):
            assert said(document, vector, version) == (
                vector.fault or (vector.message, vector.id, vector.fields, vector.frame)
            ), (version, vector.name)


def said(document: Document, vector: Vector, version: int) -> tuple[object, ...]:
    """Return the result of the codec for a frame: its fault, or its contents and encoded form."""
    try:
        decoded = document.decode(vector.frame, vector.sender, version)
    except Malformed as error:
        return (document.codes[error.fault], error.offset, error.number)
    assert decoded is not None
    name, id_, fields, _ = decoded
    return (name, id_, fields, document.encode(name, id_, fields, version))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_codec_of_the_specification_passes_every_vector(path: Path, tmp_path: Path) -> None:
    check(read_schema(path), tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda text: "-".join(text.split('"')[1:4:2]))
def test_client_of_the_specification_handles_every_framing(framing: str, tmp_path: Path) -> None:
    schema = tmp_path / "schema.toml"
    schema.write_text(f"{TYPES.read_text()}\n[framing]\n{framing}\n")
    check(read_schema(schema), tmp_path)
