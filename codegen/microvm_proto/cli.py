"""The command line of `microvm-proto`."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from microvm_proto import released
from microvm_proto.diagnostics import CONTROL, SchemaError
from microvm_proto.digest import api_digest, wire_digest
from microvm_proto.generate import Generated, generate, write
from microvm_proto.lint import nearest_name
from microvm_proto.load import Document, content
from microvm_proto.resolve import read, read_schema
from microvm_proto.schema import Schema

if TYPE_CHECKING:
    from microvm_proto.breaking import Comparison

_SCHEMA = click.argument(
    "schema", required=False, type=click.Path(path_type=Path), metavar="[SCHEMA]"
)


class _Verbs(click.Group):
    """The verbs; a disk that is full under what one prints is an error like any other."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command line; a broken pipe is for click."""
        try:
            return super().main(*arguments, **settings)
        except OSError as error:
            if error.filename is not None:
                raise
            _fail(f"cannot write to standard output: {error.strerror}")


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="microvm-proto")
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

    name = nearest_name(folder.resolve().name) if name is None else name
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
    click.echo(
        "The head of test_protocol.c says what has to be changed there, as for a new message."
    )
    if project:
        named = os.path.relpath(schema.absolute(), project.parent)
        click.echo(f"For that, add to {_display(project)}:\n")
        click.echo(f'    [tool.microvm-proto]\n    schema = "{named}"')


@main.group("import")
def importers() -> None:
    """Make a schema of the definitions of another protocol."""


@importers.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="The schema; by default it is printed."
)
@click.option("--name", help="What the protocol is called; by default as FILE.")
def mavlink(file: Path, output: Path | None, name: str | None) -> None:
    """Make a schema of MAVLink's message definitions.

    FILE is one of them, such as common.xml.

    A message's body has the bytes of its payload in MAVLink 2. What FILE includes has to be beside
    it. What the schema cannot have is left out, and named on standard error.
    """
    from microvm_proto.importers.mavlink import import_
    from microvm_proto.importers.mavlink.dialect import Refused

    name = nearest_name(file.stem) if name is None else name
    try:
        imported = import_(file, name)
    except Refused as error:
        _fail(str(error))
    with _reporting_errors():
        schema = read(Document(output or Path(f"{name}.toml"), imported.text))
    if output:
        _write([Generated(output, imported.text)])
    else:
        click.echo(imported.text, nl=False)
    for what in imported.left_out:
        click.echo(f"left out: {what}", err=True)
    counts = (len(schema.messages), len(schema.enums), len(schema.flags))
    click.echo("{} messages, {} enums, {} flags".format(*counts), err=True)


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
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="In a capture, the port of the end that the schema names second: only its connections.",
)
@click.option("--baud", type=int, metavar="RATE", help="The speed to set on a serial port.")
def explain(
    frames: tuple[str, ...],
    schema: Path | None,
    sender: str | None,
    port: int | None,
    baud: int | None,
) -> None:
    """Show frames field by field, and where and why one is malformed.

    They are given in hexadecimal, with or without spaces, or by a FILE; `-` is standard input. A
    FILE holds raw bytes, such as what one end has sent; a capture, of libpcap or pcapng; or text:
    hexadecimal, a dump by xxd, hexdump -C, od -t x1, tshark -x or Wireshark, or an array of C. From
    a pipe or a serial port, such as /dev/ttyUSB0, each frame is shown as soon as it is whole.

    Without --from, and --port for a capture, each frame is taken to come from the side that sends
    its message. The exit status is 1 when a frame is malformed, or not whole.
    """
    from microvm_proto.dump import FORMS, Unreadable
    from microvm_proto.explain import BrokenStream, Foreign
    from microvm_proto.source import SPEEDS

    with _reporting_errors():
        known = _read(schema)
    if sender is not None and sender not in known.ends:
        raise click.UsageError(f"--from is one of {' and '.join(known.ends)}")
    if baud is not None and baud not in SPEEDS:
        raise click.UsageError(f"--baud is one of {', '.join(map(str, sorted(SPEEDS)))}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A unit can have what the encoding of the output has not.
        sys.stdout.reconfigure(errors="backslashreplace")
    given = " ".join(frames)
    name = "standard input" if given == "-" else repr(given)
    try:
        with _source(given, baud) as (pieces, raw):
            lines = _explained(known, pieces, raw, sender, port)
            try:
                sys.stdout.writelines(f"{line}\n" for line in lines)
            finally:
                sys.stdout.flush()
    except KeyboardInterrupt:  # the usual end of what comes from a serial port
        sys.exit(128 + signal.SIGINT)
    except Unreadable as error:
        _fail(f"{name} {error}")
    except BrokenStream as error:
        doubtful = isinstance(error, Foreign) and sender is None and not raw
        _fail(f"{error}; {name} may be something else: {FORMS}" if doubtful else str(error))


def _explained(
    schema: Schema, pieces: Iterator[bytes], raw: bool, sender: str | None, port: int | None
) -> Iterator[str]:
    """Return what describes the frames in a file, of any kind unless it is `raw`."""
    from microvm_proto.capture import is_capture
    from microvm_proto.conversation import explain_capture
    from microvm_proto.dump import stream_of
    from microvm_proto.explain import explain as explained
    from microvm_proto.source import peek

    colour = sys.stdout.isatty()
    head, file = peek(pieces, 4)
    if not raw and is_capture(head):
        return explain_capture(schema, file, sender, port=port, colour=colour)
    if port is not None:
        raise click.UsageError("--port is for a capture")
    head, stream = peek(file if raw else stream_of(file), 1)
    if not head:
        _fail("there is no frame")
    return explained(schema, stream, sender, colour=colour)


@contextmanager
def _source(given: str, baud: int | None) -> Iterator[tuple[Iterator[bytes], bool]]:
    """Open what the arguments of `explain` stand for; tell whether that is frames as they are."""
    from microvm_proto.dump import Unreadable, bytes_of
    from microvm_proto.source import Source, opened

    with ExitStack() as stack:
        try:
            source, raw = Source(iter([bytes_of(given)])), True
        except Unreadable as reason:
            try:
                source = stack.enter_context(opened(given, baud))
            except OSError as error:
                if " " in given.strip():
                    _fail(f"{given!a} {reason}")
                _fail(f"{given!a} is not in hexadecimal, nor a file to read: {error.strerror}")
            raw = source.serial
        if baud and not source.serial:
            raise click.UsageError("--baud is for a serial port")
        yield _flushing(source.pieces), raw


def _flushing(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Let what is known of a piece be seen while the next is waited for."""
    for piece in pieces:
        yield piece
        sys.stdout.flush()


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
            named: Any = tomllib.loads(content(project).decode())
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
    click.echo(CONTROL.sub("?", f"microvm-proto: {message}"), err=True)
    sys.exit(1)
