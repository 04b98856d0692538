"""Tests of an external backend, as docs/backends.md describes it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from microvm_proto.resolve import read_schema

ROOT = Path(__file__).parents[2]
GENERATOR = ROOT / "docs/protocol-generator.md"
DOCUMENT = ROOT / "docs/backends.md"


def generated(folder: Path, bare: Path, module: str, project: str, output: str) -> None:
    """Write the schema of the example with one more output, by an installed backend."""
    (entry,) = re.findall(r'= "(\w+):emit"', project)
    (folder / f"{entry}.py").write_text(module)
    (folder / "pyproject.toml").write_text(project)
    schema = (ROOT / "examples/sensor/sensor.toml").read_text()
    (folder / "sensor.toml").write_text(schema + output)

    target = folder / "installed"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    quietly = ["--no-deps", "--no-build-isolation", "--no-index", f"--target={target}"]
    subprocess.run([*pip, *quietly, folder], check=True)
    environment = {"PYTHONPATH": str(target)}
    subprocess.run(
        [bare / "microvm-proto", "gen", "sensor.toml"], cwd=folder, env=environment, check=True
    )


def test_the_backend_in_the_document_works_once_it_is_installed(bare: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "toml", "toml", "csv"]
    module, project, output, written = (text for _, text in blocks)
    generated(tmp_path, bare, module, project, output)
    assert (tmp_path / "fields.csv").read_text() == written


def test_the_backend_of_the_generator_page_works_too(bare: Path, tmp_path: Path) -> None:
    section = GENERATOR.read_text().partition("## A backend of your own\n")[2].partition("\n## ")[0]
    (module,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (entry,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (backend,) = re.findall(r'`(backend = "\w+")`', section)
    # The rest of the project is written as in the document.
    (project,) = re.findall(r"```toml\n(\[build-.*?)```", DOCUMENT.read_text(), re.DOTALL)
    head, _, tail = project.partition("[project.entry-points")
    tail = tail.partition("[tool.")[2].replace("csv_backend.py", "my_module.py")
    output = f'\n[[output]]\n{backend}\nfile = "numbers.txt"\n'
    generated(tmp_path, bare, module, f"{head}{entry}\n[tool.{tail}", output)
    numbers = [line.split() for line in (tmp_path / "numbers.txt").read_text().splitlines()]
    messages = read_schema(ROOT / "examples/sensor/sensor.toml").messages
    assert numbers == [[str(message.number), message.name] for message in messages]


def test_module_in_the_document_passes_the_linters(tmp_path: Path) -> None:
    module = tmp_path / "csv_backend.py"
    (text,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    module.write_text(text)
    for tool in (["ruff", "check"], ["ruff", "format", "--check"]):
        command = [sys.executable, "-m", *tool, "--no-cache", "--config=pyproject.toml"]
        subprocess.run([*command, module], cwd=ROOT, check=True)
