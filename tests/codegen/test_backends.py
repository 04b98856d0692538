"""Tests that the backends write valid Python and C for every schema."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.captured import captured
from tests.support.emitted import emitted

from microvm_proto import backends
from microvm_proto.lint import constants
from microvm_proto.resolve import read_schema

from .common import (
    EVERYTHING,
    ROOT,
    SANDBOXD,
    SCHEMAS,
    Generated,
    Run,
    check_linters,
    every_schema,
)

PROBE = Path(__file__).parent / "mavlink/probe.toml"


every_style = pytest.mark.parametrize("codec", ["codec.py", "plain.py"])


@pytest.mark.thorough
@every_style
@every_schema
def test_python_needs_only_standard_library(schema: Path, codec: str, generated: Generated) -> None:
    tree = ast.parse((generated(schema) / codec).read_text())
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


WARNINGS = "-Wall -Wextra -Wconversion -Werror".split()
C = [*"-std=c11 -ffreestanding -O1 -Wpedantic -c -o /dev/null".split(), *WARNINGS]
# The excluded warnings concern style, compilers before C99 and C++11, or every pointer.
CLANG_WARNINGS = """-Weverything -Werror -Wno-unknown-warning-option -Wno-padded -Wno-switch-default
    -Wno-unsafe-buffer-usage -Wno-declaration-after-statement -Wno-c++98-compat-pedantic
    -Wno-old-style-cast -Wno-zero-as-null-pointer-constant""".split()
# The nearest to the compiler of Microsoft. The test writes the headers that it needs.
MICROSOFT = "--target=x86_64-pc-windows-msvc -fms-compatibility -fsyntax-only".split()
STRING_H = """
void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);
"""
COMPILERS = {
    "gcc": ["gcc", *C, "-std=c99", "-fkeep-inline-functions"],
    "gcc's analyzer": ["gcc", *C, "-fkeep-inline-functions", "-fanalyzer"],
    "clang": ["clang", *C, *CLANG_WARNINGS],
    "clang for Windows": ["clang", *C, *CLANG_WARNINGS, *MICROSOFT],
    "g++": ["g++", *"-std=c++11 -O1 -Wpedantic -c -o /dev/null".split(), *WARNINGS],
    "clang++": ["clang++", *"-std=c++20 -O1 -Wpedantic -c -o /dev/null".split(), *CLANG_WARNINGS],
}


STYLES = ["protocol.h", "table.h"]
# Twice, to test the guard, and alone, to test that it includes all that it needs.
TWICE = '#include "{0}"\n#include "{0}"\n'
# The tables of the other schemas have no further kinds of fields.
TABLES = [path for path in SCHEMAS if path.stem in ("types", "everything", "no_message")]
HEADERS = [*((path, "protocol.h") for path in SCHEMAS), *((path, "table.h") for path in TABLES)]


def _compilations() -> Iterator[object]:
    for schema, header in HEADERS:
        for name, compiler in COMPILERS.items():
            # The analyzer follows every path, which takes half a minute for the largest schema.
            slow = name == "gcc's analyzer" and schema.stem in ("types", "many_fields")
            case = f"{schema.stem}-{header}-{name}"
            marks = [pytest.mark.long] if slow else []
            yield pytest.param(schema, header, compiler, id=case, marks=marks)


@pytest.mark.thorough
@pytest.mark.parametrize(("schema", "header", "compiler"), [*_compilations()])
def test_header_compiles_as_freestanding_c_and_as_cpp(
    schema: Path, header: str, compiler: list[str], generated: Generated, tmp_path: Path
) -> None:
    if not shutil.which(compiler[0]):
        pytest.skip(f"{compiler[0]} is not installed")
    source = tmp_path / ("twice.cpp" if "++" in compiler[0] else "twice.c")
    source.write_text(TWICE.format(header))
    if MICROSOFT[0] in compiler:
        (tmp_path / "string.h").write_text(STRING_H)
    command = [*compiler, f"-I{generated(schema)}", f"-isystem{tmp_path}", str(source)]
    compiled = captured(command)
    assert compiled.stderr == ""
    assert compiled.returncode == 0


def test_a_schema_may_have_any_file_name(tmp_path: Path, run: Run) -> None:
    schema = tmp_path / os.fsdecode(b'\xff"""*\n\\`]].toml')
    outputs = (f'\n[[output]]\nbackend = "{name}"\nfile = "{name}"\n' for name in backends.names())
    schema.write_text(EVERYTHING.read_text() + "".join(outputs))
    assert run("gen", schema).exit_code == 0
    compile((tmp_path / "python").read_text(), "codec.py", "exec")
    compile((tmp_path / "strategies").read_text(), "messages.py", "exec")
    json.loads((tmp_path / "vectors").read_text())
    (tmp_path / "all.c").write_text('#include "c"\n')
    subprocess.run(["gcc", *C, "all.c"], cwd=tmp_path, check=True)


@every_schema
def test_the_linter_knows_the_constants_of_the_header(schema: Path, generated: Generated) -> None:
    # Names that are taken are refused, so the list must be complete.
    text = "".join((generated(schema) / file).read_text() for file in STYLES)
    read = read_schema(schema)
    found = re.findall(r"^(?:\t(\w+) = -?[\d(]|#define (\w+))", text, re.MULTILINE)
    known = {f"{read.name}_{name}".upper() for name, _ in constants(read)}
    assert {one or other for one, other in found} - {f"{read.name.upper()}_TYPE_NONE"} <= known


@pytest.mark.parametrize(("count", "style"), [(25, "inline"), (26, "table")])
def test_many_messages_are_a_table(count: int, style: str) -> None:
    schema = read_schema(SANDBOXD)
    schema = dataclasses.replace(schema, messages=schema.messages[:1] * count)
    assert emitted("c", schema, "file") == emitted("c", schema, "file", style)


def test_headers_of_several_protocols_fit_one_program(generated: Generated, tmp_path: Path) -> None:
    headers = [generated(schema) / file for schema, file in zip(SCHEMAS, itertools.cycle(STYLES))]
    (tmp_path / "all.c").write_text("".join(f'#include "{header}"\n' for header in headers))
    subprocess.run(["gcc", *C, "all.c"], cwd=tmp_path, check=True)


TOO_LONG = """
#include <stdio.h>
#include "protocol.h"

int main(void)
{
	static uint8_t out[EVERYTHING_HEADER_SIZE + EVERYTHING_MAX_BODY];
	const uint8_t data[EVERYTHING_MAX_BODY] = { 0 }, *path = (const uint8_t *)"a path";
	struct everything_variable fits = { .path = { path, 4 }, .rest = { data, 6 } };
	struct everything_variable bytes = fits, tail = fits, items = fits, total = fits;

	bytes.path.size++;
	tail.rest.size++;
	items.words = (struct everything_list){ data, 16, 4 };
	total.words = (struct everything_list){ data, 17, 3 };
	const struct everything_variable *all[] = { &fits, &bytes, &tail, &items, &total };
	for (int i = 0; i < 5; i++)
		printf("%zu ", everything_encode_variable(out, sizeof out, EVERYTHING_VERSION, 1, all[i]));
}
"""


FRAMED = [ROOT / "examples/sensor/sensor.toml", ROOT / "examples/serial/meter.toml", PROBE]


@pytest.mark.thorough
@pytest.mark.parametrize("style", ["protocol.h", "table.h"])
@pytest.mark.parametrize("schema", [*SCHEMAS, *FRAMED], ids=lambda path: path.stem)
def test_the_c_compiles_for_an_avr(
    schema: Path, style: str, generated: Generated, tmp_path: Path
) -> None:
    """An AVR has a `size_t` of 2 bytes, and a `double` of 4 bytes unless an option says 8."""
    header = generated(schema) / style
    flags = "-mmcu=atmega2560 -std=c11 -Wall -Wextra -Wconversion -Werror -x c -c".split()
    command = ["avr-gcc", *flags, str(header), "-o", str(tmp_path / "avr.o")]
    done = captured(command)
    if read_schema(schema).max_body >= 1 << 16:
        assert "_needs_size_t_of_4_bytes" in done.stderr
        return
    if "_bits_of_f64" in header.read_text():
        assert "_f64_needs_a_double_of_8_bytes" in done.stderr
        done = captured([*command, "-mdouble=64"])
    assert done.stderr == ""
    assert done.returncode == 0


def test_header_encodes_nothing_longer_than_its_bound(generated: Generated, tmp_path: Path) -> None:
    (tmp_path / "main.c").write_text(TOO_LONG)
    folder = generated(EVERYTHING)
    flags = ["-std=c11", *WARNINGS, "-fsanitize=address,undefined", f"-I{folder}"]
    subprocess.run(["gcc", *flags, "-o", "main", "main.c"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "main"], stdout=subprocess.PIPE, text=True, check=True)
    assert said.stdout.split() == [str(12 + 4 + 4 + 4 + 4 + 6), "0", "0", "0", "0"]


CONSTANTS = """
#include <stdio.h>
#include "protocol.h"

int main(void)
{
	fputs(EVERYTHING_ODD_TEXT, stdout);
	printf("|%llu|%lld|%d", EVERYTHING_MOST, EVERYTHING_LEAST, EVERYTHING_FEW);
}
"""


def test_constants_are_the_same_in_both_languages(generated: Generated, tmp_path: Path) -> None:
    path = EVERYTHING
    values = [constant.value for constant in read_schema(path).constants]
    (tmp_path / "main.c").write_text(CONSTANTS)
    command = ["gcc", "-std=c11", *WARNINGS, f"-I{generated(path)}", "-o", "main", "main.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "main"], stdout=subprocess.PIPE, text=True, check=True)
    assert said.stdout.split("|") == [str(value) for value in values]
    for backend in ("constants", "python"):
        text = emitted(backend, read_schema(path), "file")["file"]
        given = re.findall(r"^(?:ODD_TEXT|MOST|LEAST|FEW) = (.*)$", text, re.MULTILINE)
        assert [ast.literal_eval(value) for value in given] == values


def test_the_header_knows_the_longest_body_without_a_tail(generated: Generated) -> None:
    text = (generated(SANDBOXD) / "protocol.h").read_text()
    sent = [m for m in read_schema(SANDBOXD).messages if m.sender == "guest"]
    longest = max(message.max_body for message in sent if message.name != "exec_output")
    assert f"SANDBOXD_MAX_TAILLESS_BODY_FROM_GUEST = {longest},\n" in text


@every_schema
def test_specification_tables_have_equal_rows(schema: Path, generated: Generated) -> None:
    lines = (generated(schema) / "SPEC.md").read_text().replace("\\|", "").splitlines()
    columns = [line.count("|") if line.startswith("|") else 0 for line in lines]
    assert any(columns)
    for line, above, here in zip(lines[1:], columns, columns[1:], strict=False):
        assert not (above and here) or above == here, line


@pytest.mark.thorough
def test_python_passes_linters(generated: Generated, tmp_path: Path) -> None:
    files = []
    for schema, codec in itertools.product([*SCHEMAS, PROBE], ["codec.py", "plain.py"]):
        files.append(tmp_path / f"{schema.stem}_{codec}")
        shutil.copy(generated(schema) / codec, files[-1])
    check_linters(*files)


def test_backend_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    (tmp_path / "names_backend.py").write_text(
        "def emit(schema, output):\n"
        "    file = output.path.name\n"
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
        EVERYTHING.read_text() + '[[output]]\nbackend = "names"\nfile = "out/names.txt"\n'
    )
    assert "names" in backends.names()
    assert run("gen", schema).exit_code == 0
    expected = "".join(f"{message.name}\n" for message in read_schema(schema).messages)
    assert (tmp_path / "out/names.txt").read_text() == expected
    assert (tmp_path / "out/names.txt.2").read_text() == "two\n"
