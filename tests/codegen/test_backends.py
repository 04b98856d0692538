"""What the backends write: valid Python and C, whatever the schema."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result

from microvm_proto import backends
from microvm_proto.resolve import read_schema

ROOT = Path(__file__).parents[2]
SANDBOXD = ROOT / "protocol/sandboxd.toml"
SCHEMAS = [*sorted(Path(__file__).with_name("schemas").glob("*.toml")), SANDBOXD]
CODEC = ROOT / "host/microvm/codec.py"

Generated = Callable[[Path], Path]
Load = Callable[[Path], ModuleType]
Run = Callable[..., Result]

every_schema = pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)


@every_schema
def test_the_python_can_be_imported(schema: Path, generated: Generated, load: Load) -> None:
    codec = load(generated(schema) / "codec.py")
    assert codec.Decoder(codec.END_NAMES[0]).next_message() is None


@every_schema
def test_the_python_has_a_class_for_each_message(
    schema: Path, generated: Generated, load: Load
) -> None:
    codec = load(generated(schema) / "codec.py")
    numbers = {kind.TYPE for kind in vars(codec).values() if hasattr(kind, "TYPE")}
    assert numbers == {message.number for message in read_schema(schema).messages}


@every_schema
def test_the_python_imports_nothing_but_the_standard_library(
    schema: Path, generated: Generated
) -> None:
    tree = ast.parse((generated(schema) / "codec.py").read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
        )
    }
    assert imported
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@every_schema
def test_the_c_compiles_freestanding_without_a_warning(
    schema: Path, compiler: str, generated: Generated, tmp_path: Path
) -> None:
    if compiler == "clang" and not shutil.which(compiler):
        pytest.skip("clang is not installed")
    source = tmp_path / "twice.c"
    # Twice, for the guard; and on its own, for what it needs to include itself.
    source.write_text('#include "protocol.h"\n#include "protocol.h"\n')
    flags = "-std=c11 -ffreestanding -O1 -Wall -Wextra -Wconversion -Werror -c -o /dev/null".split()
    flags += ["-fkeep-inline-functions"] if compiler == "gcc" else []
    command = [compiler, *flags, f"-I{generated(schema)}", str(source)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.stderr == ""
    assert compiled.returncode == 0


@every_schema
def test_every_row_of_a_table_in_the_specification_has_the_cells_of_its_head(
    schema: Path, generated: Generated
) -> None:
    lines = (generated(schema) / "SPEC.md").read_text().replace("\\|", "").splitlines()
    columns = [line.count("|") if line.startswith("|") else 0 for line in lines]
    assert any(columns)
    for line, above, here in zip(lines[1:], columns, columns[1:], strict=False):
        assert not (above and here) or above == here, line


@every_schema
def test_the_specification_names_every_message_field_and_value(
    schema: Path, generated: Generated
) -> None:
    text = (generated(schema) / "SPEC.md").read_text()
    read = read_schema(schema)
    names = [message.name for message in read.messages]
    names += [field.name for message in read.messages for field in message.fields]
    names += [value.name for enum in read.enums for value in enum.values]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["ruff", "check", "--no-cache"],
        ["ruff", "format", "--no-cache", "--check"],
        ["mypy", "--strict", "--warn-unreachable", "--config-file=", "--cache-dir=/dev/null"],
    ],
    ids=["lint", "format", "types"],
)
def test_the_committed_codec_is_as_clean_as_code_written_by_hand(arguments: list[str]) -> None:
    command = [sys.executable, "-m", *arguments, str(CODEC)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_built_in_backends_are_found_by_their_files() -> None:
    folder = Path(backends.__file__).parent
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    assert {"c", "markdown", "python"} <= files
    assert files <= set(backends.names())


def test_an_installed_distribution_can_bring_a_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    (tmp_path / "names_backend.py").write_text(
        "def emit(schema, file):\n"
        "    names = ''.join(message.name + '\\n' for message in schema.messages)\n"
        "    return {file: names, file + '.2': 'two\\n'}\n"
    )
    info = tmp_path / "names_backend-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: names-backend\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{backends.GROUP}]\nnames = names_backend:emit\n")
    monkeypatch.syspath_prepend(tmp_path)
    schema = tmp_path / "schema.toml"
    schema.write_text(
        (ROOT / "tests/codegen/schemas/everything.toml").read_text()
        + '[[output]]\nbackend = "names"\nfile = "out/names.txt"\n'
    )
    assert "names" in backends.names()
    assert run("gen", schema).exit_code == 0
    expected = "".join(f"{message.name}\n" for message in read_schema(schema).messages)
    assert (tmp_path / "out/names.txt").read_text() == expected
    assert (tmp_path / "out/names.txt.2").read_text() == "two\n"
