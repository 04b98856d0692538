"""A protocol to start from: a schema, a test of it in each language, and what is generated."""

from __future__ import annotations

import json
from pathlib import Path

from microvm_proto.generate import Generated, generate
from microvm_proto.load import Document
from microvm_proto.resolve import read

_TEMPLATES = Path(__file__).with_name("template")


def protocol(folder: Path, name: str, *, project: bool) -> list[Generated]:
    """Return the files of a protocol called `name`, the schema first.

    :param project: whether a pyproject.toml that names the schema is among them.
    :raises SchemaError: no protocol can be called that.
    """
    paths = {"schema.toml": f"{name}.toml"}
    written = [
        Generated(folder / paths.get(template.stem, template.stem), _filled(template, name))
        for template in sorted(_TEMPLATES.glob("*.in"))
        if project or template.stem != "pyproject.toml"
    ]
    written.sort(key=lambda file: file.path.name != paths["schema.toml"])
    schema = read(Document(written[0].path, written[0].text))
    return [*written, *generate(schema)]


def _filled(template: Path, name: str) -> str:
    name = json.dumps(name)[1:-1]  # so that whatever it is, the schema's rules hear of it
    text = template.read_text(encoding="utf-8")
    return text.replace("@p@", name).replace("@P@", name.upper())
