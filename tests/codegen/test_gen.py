"""Tests of `microvm-proto gen`, and of all file operations of the command."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.captured import captured

from microvm_proto.generate import generate
from microvm_proto.resolve import read_schema

from .common import ROOT, SANDBOXD, Run, failure

OUTPUTS = [output.path for output in read_schema(SANDBOXD).outputs]

VERBS = ["gen", "lint", "digest", "breaking", "release"]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return the contents and the modification time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def change_all(project: Path) -> None:
    """Change the schema so that every output changes."""
    edit(project / "protocol/sandboxd.toml", "max = 64\n", "max = 65\n")
    edit(project / "protocol/sandboxd.toml", '"microvm.sandboxd.0"', '"microvm.sandboxd.1"')
    edit(project / "protocol/sandboxd.toml", "The guest has answered `hello`.", "A command runs.")
    edit(project / "protocol/sandboxd.toml", 'ignore = ["exec_stdin", ', "ignore = [")


def test_committed_files_are_up_to_date(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = run("gen", "--check")
    assert result.output == ""
    assert result.exit_code == 0


def test_gen_twice_changes_nothing(run: Run, project: Path) -> None:
    files = snapshot(project).keys()
    change_all(project)
    assert run("gen").stdout.splitlines() == [f"wrote {os.path.relpath(o, ROOT)}" for o in OUTPUTS]
    before = snapshot(project)
    assert before.keys() == files
    again = run("gen")
    assert again.output == ""
    assert again.exit_code == 0
    assert snapshot(project) == before


def test_check_shows_the_diff_and_the_next_command(run: Run, project: Path) -> None:
    edit(project / "protocol/sandboxd.toml", "Any number.", "Whatever you like.")
    before = snapshot(project)
    result = run("gen", "--check")
    assert snapshot(project) == before
    assert "--- protocol/SPEC.md\n+++ protocol/SPEC.md (generated)\n" in result.stdout
    assert "-    :ivar token: Any number.\n+    :ivar token: Whatever you like.\n" in result.stdout
    # Four of the outputs contain the documentation of the schema.
    assert result.stderr == (
        f"microvm-proto: 4 of {len(OUTPUTS)} generated files are stale; run `microvm-proto gen`\n"
    )


@pytest.mark.thorough
@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data + b"\n",
        lambda data: data[:-1],
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xff" + data,
        lambda _: b"",
    ],
    ids=["line more", "last newline", "line ends", "not text", "empty"],
)
def test_changed_file_is_stale(spoil: Callable[[bytes], bytes], run: Run, project: Path) -> None:
    file = project / "protocol/SPEC.md"
    right = file.read_bytes()
    file.write_bytes(spoil(right))
    assert run("gen", "--check").exit_code == 1
    assert run("gen").stdout == "wrote protocol/SPEC.md\n"
    assert file.read_bytes() == right


def test_written_files_are_readable_by_everybody(run: Run, project: Path) -> None:
    (project / "protocol/SPEC.md").unlink()
    before = os.umask(0o077)
    try:
        run("gen")
    finally:
        os.umask(before)
    assert (project / "protocol/SPEC.md").stat().st_mode & 0o777 == 0o644


def test_the_same_schema_elsewhere_gives_the_same_text(project: Path) -> None:
    here = read_schema(SANDBOXD)
    there = read_schema(project / "protocol/sandboxd.toml")
    assert [file.text for file in generate(here)] == [file.text for file in generate(there)]


def test_schema_is_found_above(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project / "host/microvm")
    (project / "protocol/SPEC.md").unlink()
    assert run("gen").exit_code == 0
    assert (project / "protocol/SPEC.md").exists()


@pytest.mark.parametrize(
    "text",
    [None, "", "tool = 3", "[tool]\nmicrovm-proto = 3", "[tool.microvm-proto]\nschema = 3"],
    ids=["none", "empty", "no tools", "no table", "no name"],
)
def test_schema_must_be_named(
    text: str | None, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    result = run("gen")
    assert result.exit_code == 2
    assert "give a SCHEMA" in result.stderr


def test_pyproject_must_be_toml(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text("tool =")
    assert failure(run, "gen").startswith("microvm-proto: pyproject.toml: Invalid value")


def test_schema_without_outputs_is_reported(run: Run, project: Path) -> None:
    schema = project / "protocol/sandboxd.toml"
    text = re.sub(r"\[\[output\]\]\n(?:.+\n)*", "", schema.read_text())
    schema.write_text(text)
    assert failure(run, "gen") == (
        "microvm-proto: no files to generate: protocol/sandboxd.toml has no [[output]]\n"
    )


@pytest.mark.parametrize("command", VERBS)
def test_commands_report_unknown_type_with_its_line(command: str, run: Run, project: Path) -> None:
    schema = project / "protocol/sandboxd.toml"
    text = schema.read_text()
    schema.write_text(text.replace('type = "tail"', 'type = "tial"', 1))
    line = schema.read_text().split("tial")[0].count("\n") + 1
    assert failure(run, command) == (
        f"protocol/sandboxd.toml:{line}:8: error: unknown type `tial` [unknown-type]\n"
        '    type = "tial"\n'
        "           ^^^^^^\n"
        "    hint: did you mean `tail`?\n"
        "microvm-proto: 1 error in protocol/sandboxd.toml\n"
    )


@pytest.mark.parametrize("command", VERBS)
def test_invalid_schema_causes_no_traceback(command: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "text").write_text("once upon a time")
    for name in ("missing", "folder", "binary", "text", "text/below"):
        result = run(command, tmp_path / name)
        assert result.exit_code == 1, name
        assert result.stderr.startswith(f"{tmp_path / name}:"), name
        # An unreadable file has no lines.
        unreadable = name in ("missing", "folder", "text/below")
        assert result.stderr.startswith(f"{tmp_path / name}: error: ") == unreadable, name
        assert result.stderr.endswith(f"microvm-proto: 1 error in {tmp_path / name}\n"), name


def test_an_unknown_backend_stops_gen_before_it_writes(run: Run, project: Path) -> None:
    schema = project / "protocol/sandboxd.toml"
    edit(schema, 'backend = "markdown"', 'backend = "word"')
    edit(schema, "max = 64\n", "max = 65\n")
    before = snapshot(project)
    result = run("gen")
    assert result.exit_code == 1
    assert "unknown backend `word` [unknown-backend]" in result.stderr
    assert snapshot(project) == before


@pytest.mark.parametrize("flags", [[], ["--check"]], ids=["gen", "check"])
def test_an_output_that_is_a_folder_is_named(flags: list[str], run: Run, project: Path) -> None:
    (project / "protocol/SPEC.md").unlink()
    (project / "protocol/SPEC.md").mkdir()
    assert failure(run, "gen", *flags) == "microvm-proto: protocol/SPEC.md: Is a directory\n"
    assert list((project / "protocol").glob(".*")) == []


@pytest.mark.parametrize("flags", [[], ["--check"]], ids=["gen", "check"])
def test_an_output_that_is_no_file_is_left_alone(flags: list[str], run: Run, project: Path) -> None:
    output = project / "protocol/SPEC.md"
    output.unlink()
    os.mkfifo(output)
    assert failure(run, "gen", *flags) == "microvm-proto: protocol/SPEC.md: Not a regular file\n"
    assert output.is_fifo()


def test_schema_file_is_at_most_16_mib_long(run: Run, project: Path) -> None:
    schema = project / "protocol/sandboxd.toml"
    line = "# " + "a comment of many lines " * 40 + "\n"
    edit(schema, "[protocol]\n", line * (2 << 10) + "[protocol]\n")
    assert schema.stat().st_size > 1 << 20
    assert run("gen", "--check").exit_code == 0
    os.truncate(schema, (16 << 20) + 1)
    assert f"{schema.name}: error: Longer than 16 MiB [unreadable]" in failure(run, "lint", schema)


def test_a_working_folder_that_is_gone_is_reported(run: Run, project: Path) -> None:
    shutil.rmtree(project)
    result = run("lint")
    problem = "cannot read the working folder: No such file or directory"
    assert result.stderr == f"microvm-proto: {problem}\n"
    assert result.exit_code == 1


SIZES = [output.stat().st_size for output in OUTPUTS]


@pytest.mark.parametrize("room", [1024, max(SIZES) - 1], ids=["none", "all but the longest"])
def test_full_disk_leaves_all_files_unchanged(room: int, project: Path) -> None:
    edit(project / "protocol/sandboxd.toml", "max = 64\n", "max = 65\n")
    before = snapshot(project)
    # A process with a maximum length of files.
    code = (
        "import resource\n"
        "from microvm_proto.cli import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "main(['gen'])\n"
    )
    result = captured([sys.executable, "-B", "-c", code])
    first = next(output for output, size in zip(OUTPUTS, SIZES, strict=True) if size > room)
    name = os.path.relpath(first, ROOT)
    assert result.stderr == f"microvm-proto: {name}: File too large\n"
    assert result.stdout == ""
    assert result.returncode == 1
    assert snapshot(project) == before


@pytest.mark.parametrize("renamed", [0, len(OUTPUTS) - 1])
def test_failed_rename_restores_the_files(
    renamed: int, run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_all(project)
    new = project / os.path.relpath(OUTPUTS[0], ROOT)
    new.unlink()
    new.parent.rename(project / "elsewhere")
    before = snapshot(project)
    target = project / os.path.relpath(OUTPUTS[renamed], ROOT)
    replace = Path.replace

    def replace_others(path: Path, to: Path) -> Path:
        # The previous target may still be restored.
        if to == target and not path.name.endswith(".old"):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), path)
        return replace(path, to)

    monkeypatch.setattr(Path, "replace", replace_others)
    result = run("gen")
    name = target.relative_to(project)
    assert result.stderr == f"microvm-proto: {name}: Operation not permitted\n"
    assert result.stdout == ""
    assert snapshot(project) == before
    assert not new.parent.exists()
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert run("gen").exit_code == 0
    assert run("gen", "--check").exit_code == 0


def test_copy_is_restored_if_links_are_not_supported(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*arguments: object, **options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    test_failed_rename_restores_the_files(3, run, project, monkeypatch)


def test_digest_prints_the_digest_that_the_codec_has(run: Run, project: Path) -> None:
    wire, _ = run("digest").stdout.splitlines()
    digest = wire.removeprefix("wire ")
    assert f"DIGEST = 0x{digest.upper()}\n" in (project / "host/microvm/wire/codec.py").read_text()
    assert f"_DIGEST 0x{digest}ULL\n" in (project / "guest/protocol.h").read_text()


@pytest.mark.parametrize("arguments", ["--help", "digest", "explain 00"])
def test_full_disk_under_standard_output_is_an_error(arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("microvm-proto")), *arguments.split()]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ended.returncode == 1
    assert ended.stderr.decode() == (
        "microvm-proto: cannot write to standard output: No space left on device\n"
    )
