"""The command line of `microvm-proto`."""

from __future__ import annotations

import os
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from microvm_proto import released
from microvm_proto.diagnostics import SchemaError
from microvm_proto.digest import api_digest, wire_digest
from microvm_proto.generate import Generated, generate, write
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Schema

if TYPE_CHECKING:
    from microvm_proto.breaking import Comparison

_SCHEMA = click.argument(
    "schema", required=False, type=click.Path(path_type=Path), metavar="[SCHEMA]"
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="microvm")
def main() -> None:
    """Generate both ends of a small typed protocol from one schema.

    SCHEMA is a TOML file. Without it, the nearest pyproject.toml says which in its table
    [tool.microvm-proto], key `schema`.
    """
    try:
        Path.cwd()
    except OSError as error:
        _fail(f"the working folder: {error.strerror}")


@main.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--name", help="What the protocol is called; by default as its folder.")
def init(folder: Path, name: str | None) -> None:
    """Start a protocol in FOLDER, by default the working folder.

    Writes a small schema to change, NAME.toml, what `gen` makes of it for Python and C, a test in
    each language that passes at once, and a Makefile that runs both. Nothing is overwritten.
    """
    from microvm_proto import init

    name = init.name_of(folder) if name is None else name
    project = next((p for p in _projects(folder.absolute()) if p.exists()), None)
    try:
        files = init.protocol(folder, name, project=project is None)
    except SchemaError as error:
        _fail(f"{name!a} cannot be the name: {error.diagnostics[0].message}; choose one by --name")
    there = [_display(file.path) for file in files if os.path.lexists(file.path)]
    if there:
        _fail(f"already there: {', '.join(there)}; `microvm-proto init FOLDER` takes a new folder")
    _write(files)
    schema = files[0].path
    click.echo("\nBoth tests pass as it is; they need make, a C compiler, pytest and hypothesis:\n")
    if folder.resolve() != Path.cwd():
        click.echo(f"    cd {shlex.quote(str(folder))}")
    click.echo("    pip install pytest hypothesis")
    click.echo("    make test")
    click.echo(f"\nThen change {schema.name}, and run `microvm-proto gen` and `make test` again.")
    if project:
        named = os.path.relpath(schema.absolute(), project.parent)
        click.echo(f"For that, add to {_display(project)}:\n")
        click.echo(f'    [tool.microvm-proto]\n    schema = "{named}"')


@main.command()
@_SCHEMA
@click.option("--check", is_flag=True, help="Write nothing; exit 1 with a diff if one is stale.")
def gen(schema: Path | None, check: bool) -> None:
    """Write every file that the schema's [[output]] tables name."""
    with _reporting_errors():
        read = _read(schema)
        files = generate(read)
    if not files:
        _fail(f"{_display(read.path)} has no [[output]], so there is nothing to write")
    if not check:
        _write(files)
        return
    stale = 0
    for file in files:
        try:
            diff = file.diff(Path.cwd())
        except OSError as error:
            _fail(f"{_display(file.path)}: {error.strerror}")
        click.echo(diff, nl=False)
        stale += bool(diff)
    if stale:
        again = " ".join(["microvm-proto gen", *([_display(schema)] if schema else [])])
        _fail(f"{stale} of {len(files)} generated files are stale; run `{again}`")


def _write(files: list[Generated]) -> None:
    """Write what is not up to date, and name it."""
    try:
        written = write(files)
    except OSError as error:
        _fail(f"{_display(Path(error.filename))}: {error.strerror}")
    for path in written:
        click.echo(f"wrote {_display(path)}")


@main.command()
@_SCHEMA
def lint(schema: Path | None) -> None:
    """Report everything that is wrong with the schema.

    Where its released form is beside it, that includes what older ends would not understand.
    """
    path = schema or _configured_schema()
    with _reporting_errors():
        generate(_read(path))
        comparison = _comparison(path)
    if comparison and comparison.errors:
        _conclude(comparison)


@main.command()
@_SCHEMA
def digest(schema: Path | None) -> None:
    """Print the two digests of the schema.

    `wire` is over what shapes the bytes on the wire: both ends compare it when they connect.

    `api` is over all but the documentation, names and order included: when it has changed, so has
    the generated code, and what calls it may have to.
    """
    with _reporting_errors():
        read = _read(schema)
        click.echo(f"wire {wire_digest(read):016x}")
        click.echo(f"api  {api_digest(read):016x}")


@main.command()
@_SCHEMA
@click.option(
    "--against",
    type=click.Path(path_type=Path),
    help="The released form; by default SCHEMA's own, beside it, as STEM.released.toml.",
)
def breaking(schema: Path | None, against: Path | None) -> None:
    """Compare the schema with its released form.

    Ends of both can talk to each other when it is equivalent, or newer: with all that is new marked
    by a later `since`, and a `version` to match. Exits with 1 otherwise.
    """
    from microvm_proto.breaking import Comparison

    path = schema or _configured_schema()
    target = against or released.path_of(path)
    with _reporting_errors():
        if not against and not target.exists():
            _read(path)
            _fail(f"{_display(target)} is not there; `microvm-proto release` writes it")
        comparison = Comparison(path, target)
    _conclude(comparison)


@main.command()
@_SCHEMA
def release(schema: Path | None) -> None:
    """Write the released form of the schema.

    That is STEM.released.toml beside it. Refuses when there is one with which the schema is not
    compatible.
    """
    path = schema or _configured_schema()
    target = released.path_of(path)
    with _reporting_errors():
        text = released.canonical(_read(path))
        comparison = _comparison(path)
    if comparison:
        _conclude(comparison)
    _write([Generated(target, text)])


def _comparison(path: Path) -> Comparison | None:
    """Compare the schema with its released form, where there is one."""
    from microvm_proto.breaking import Comparison

    target = released.path_of(path)
    return Comparison(path, target) if target.exists() else None


def _conclude(comparison: Comparison) -> None:
    """Print the findings and the verdict; exit with 1 if there is an error."""
    if report := comparison.report():
        click.echo(report, err=True)
    old, new, errors = comparison.old, comparison.new, comparison.errors
    verdict = (
        f"version {new.version} is {comparison.verdict.value} the released version {old.version}"
    )
    if errors:
        _fail(f"{errors} error{'s' if errors > 1 else ''}: {verdict} in {_display(old.path)}")
    click.echo(verdict)


@main.command()
@click.argument("frames", nargs=-1, required=True, metavar="HEX|FILE")
@click.option("--schema", type=click.Path(path_type=Path), help="The schema, if not the usual one.")
@click.option("--from", "sender", metavar="END", help="Who sends the frames, one of the two ends.")
def explain(frames: tuple[str, ...], schema: Path | None, sender: str | None) -> None:
    """Show frames field by field, and where and why one is malformed.

    They are given in hexadecimal, with or without spaces, or by a FILE that holds that, a dump by
    xxd, hexdump -C, od -t x1 or Wireshark, or the raw bytes, such as a captured stream; `-` is
    standard input. Without --from each frame is taken to
    come from the side that sends its message. The exit status is 1 when a frame is malformed, or
    not whole.
    """
    from microvm_proto.explain import BrokenStream
    from microvm_proto.explain import explain as explained

    with _reporting_errors():
        known = _read(schema)
    if sender is not None and sender not in known.ends:
        raise click.UsageError(f"--from is one of {' and '.join(known.ends)}")
    stream = _stream(frames)
    if not stream:
        _fail("there is no frame")
    try:
        for line in explained(known, stream, sender):
            click.echo(line)
    except BrokenStream as error:
        _fail(str(error))


def _stream(given: tuple[str, ...]) -> bytes:
    """Return the bytes that the arguments of `explain` stand for."""
    from microvm_proto.dump import Unreadable, bytes_of, stream_of

    text = " ".join(given)
    try:
        return bytes_of(text)
    except Unreadable as error:
        reason = error
    try:
        data = sys.stdin.buffer.read() if text == "-" else Path(text).read_bytes()
    except OSError as error:
        if " " in text.strip():
            _fail(f"{text!a} {reason}")
        _fail(f"{text!a} is not in hexadecimal, nor a file to read: {error.strerror}")
    try:
        return stream_of(data)
    except Unreadable as error:
        _fail(f"{'standard input' if text == '-' else repr(text)} {error}")


def _read(path: Path | None) -> Schema:
    return read_schema(path or _configured_schema())


@contextmanager
def _reporting_errors() -> Iterator[None]:
    """Print the findings, and exit with 1, when the schema cannot be used."""
    try:
        yield
    except SchemaError as error:
        click.echo(str(error), err=True)
        found = len(error.diagnostics)
        _fail(f"{found} error{'s' if found > 1 else ''} in {_display(error.path)}")


def _configured_schema() -> Path:
    """Return the schema that the nearest pyproject.toml with [tool.microvm-proto] names."""
    for project in _projects(Path.cwd()):
        try:
            named: Any = tomllib.loads(project.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            _fail(f"{_display(project)}: {error}")
        for key in ("tool", "microvm-proto", "schema"):
            named = named.get(key) if isinstance(named, dict) else None
        if isinstance(named, str):
            return Path(_display(project.parent / named))
    raise click.UsageError(
        "no SCHEMA is given, and no pyproject.toml here or above names one "
        'in [tool.microvm-proto], as `schema = "…"`'
    )


def _projects(folder: Path) -> list[Path]:
    """Return each pyproject.toml in the folder and above, the nearest first."""
    projects = (each / "pyproject.toml" for each in (folder, *folder.parents))
    return [project for project in projects if project.is_file()]


def _display(path: Path) -> str:
    """Return the path relative to the working folder, if it is in there."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else path)


def _fail(message: str) -> NoReturn:
    click.echo(f"microvm-proto: {message}", err=True)
    sys.exit(1)
