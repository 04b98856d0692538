"""The files of a new protocol: an example schema, a test in each language, and generated code."""

from __future__ import annotations

import json
from pathlib import Path

from microvm_proto.generate import Generated, generate
from microvm_proto.load import Document
from microvm_proto.resolve import read

_TEMPLATES = Path(__file__).with_name("template")


def protocol(folder: Path, name: str, *, project: bool) -> list[Generated]:
    """Return the files of a new protocol, schema first; for a `project`, also pyproject.toml.

    :param project: True to include a file pyproject.toml that names the schema.
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
    # Escape the name, so that an invalid name is reported by the rules of the schema, and not by
    # TOML.
    name = json.dumps(name)[1:-1]
    text = template.read_text(encoding="utf-8")
    return text.replace("@p@", name).replace("@P@", name.upper())
