"""The command line of `microvm-proto`, which generates the code of a protocol from a schema."""

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


class _Commands(click.Group):
    """A group of subcommands that reports a failed write to standard output, as on a full disk."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command line; fail with a message if standard output cannot be written.

        Click itself handles a broken pipe, so this method reports only other errors.
        """
        try:
            return super().main(*arguments, **settings)
        except OSError as error:
            if error.filename is not None:
                raise
            _fail(f"cannot write to standard output: {error.strerror}")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="microvm-proto")
def main() -> None:
    """Generate both sides of a small typed protocol from one schema.

    SCHEMA is a TOML file. By default, it is the file that the nearest pyproject.toml names with the
    key `schema` of its table [tool.microvm-proto].
    """
    try:
        Path.cwd()
    except OSError as error:
        _fail(f"cannot read the working folder: {error.strerror}")


@main.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the protocol. Default: the name of the folder.")
def init(folder: Path, name: str | None) -> None:
    """Start a protocol in FOLDER, by default the working folder.

    Writes a small example schema, NAME.toml, the Python and C files that `gen` generates from it,
    one test in each language, and a Makefile that runs both tests. Never overwrites a file.
    """
    from microvm_proto import init

    name = nearest_name(folder.resolve().name) if name is None else name
    project = next((p for p in _projects(folder.absolute()) if p.exists()), None)
    try:
        files = init.protocol(folder, name, project=project is None)
    except SchemaError as error:
        message = error.diagnostics[0].message
        _fail(f"a protocol cannot be named {name!a}: {message}; choose a name with --name")
    existing = [_display(file.path) for file in files if os.path.lexists(file.path)]
    if existing:
        _fail(
            f"refusing to overwrite {', '.join(existing)}; choose another folder with "
            "`microvm-proto init FOLDER`"
        )
    _write(files)
    schema = files[0].path
    click.echo("\nThe tests need make, a C compiler, pytest and hypothesis. To run them:\n")
    if folder.resolve() != Path.cwd():
        click.echo(f"    cd {shlex.quote(str(folder))}")
    click.echo("    pip install pytest hypothesis")
    click.echo("    make test")
    click.echo(f"\nThen change {schema.name}, and run `microvm-proto gen` and `make test` again.")
    click.echo(
        "For a new message, change test_protocol.c, too: the comment at its top explains how."
    )
    if project:
        named = os.path.relpath(schema.absolute(), project.parent)
        click.echo(f"So that `gen` finds the schema, add to {_display(project)}:\n")
        click.echo(f'    [tool.microvm-proto]\n    schema = "{named}"')


@main.group("import")
def importers() -> None:
    """Convert the definitions of another protocol into a schema."""


@importers.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="File to write the schema to. Default: standard output.",
)
@click.option("--name", help="Name of the protocol. Default: the name of FILE.")
def mavlink(file: Path, output: Path | None, name: str | None) -> None:
    """Convert MAVLink message definitions into a schema.

    FILE is an XML file of MAVLink, such as common.xml. The files that it includes have to be in the
    same folder.

    A message's body has the same bytes as its payload in MAVLink 2. Standard error lists the
    definitions that a schema cannot express; they are left out.
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
    for omission in imported.left_out:
        click.echo(f"left out: {omission}", err=True)
    counts = (len(schema.messages), len(schema.enums), len(schema.flags))
    click.echo("{} messages, {} enums, {} flags".format(*counts), err=True)


@main.command()
@_SCHEMA
@click.option(
    "--check",
    is_flag=True,
    help="Write nothing. Print a diff of each stale file, and exit with 1 if there is any.",
)
def gen(schema: Path | None, check: bool) -> None:
    """Generate the files that the schema's [[output]] tables name."""
    with _reporting_errors():
        read = _read(schema)
        files = generate(read)
    if not files:
        _fail(f"no files to generate: {_display(read.path)} has no [[output]]")
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
    """Write the generated files that are not up to date, and print the path of each."""
    try:
        written = write(files)
    except OSError as error:
        _fail(f"{_display(Path(error.filename))}: {error.strerror}")
    for path in written:
        click.echo(f"wrote {_display(path)}")


@main.command()
@_SCHEMA
def lint(schema: Path | None) -> None:
    """Report every error in the schema.

    If the schema has a released form, STEM.released.toml in the same folder, this also reports
    changes that programs of the released version would not understand.
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

    `wire` covers everything that shapes the bytes on the wire. Both sides compare it when they
    connect.

    `api` covers everything except documentation, including names and order. When it changes, the
    generated code changes, too, and the code that calls it may have to.
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
    help="The released form. Default: STEM.released.toml in the folder of SCHEMA.",
)
def breaking(schema: Path | None, against: Path | None) -> None:
    """Compare the schema with its released form.

    Programs of both versions can talk to each other if the schema is equivalent to its released
    form, or newer. It is newer if it has a higher `version`, and every addition has a later
    `since`. Otherwise, the exit status is 1.
    """
    from microvm_proto.breaking import Comparison

    path = schema or _configured_schema()
    target = against or released.path_of(path)
    with _reporting_errors():
        if not against and not target.exists():
            _read(path)
            _fail(f"{_display(target)} does not exist; write it with `microvm-proto release`")
        comparison = Comparison(path, target)
    _conclude(comparison)


@main.command()
@_SCHEMA
def release(schema: Path | None) -> None:
    """Write the released form of the schema.

    The released form is STEM.released.toml in the folder of SCHEMA. Refuses to replace one with
    which the schema is not compatible.
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
    """Compare a schema with its released form; return None if the released form does not exist."""
    from microvm_proto.breaking import Comparison

    target = released.path_of(path)
    return Comparison(path, target) if target.exists() else None


def _conclude(comparison: Comparison) -> None:
    """Print the findings and the verdict of a comparison. Exit with status 1 after an error."""
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
@click.option(
    "--schema",
    type=click.Path(path_type=Path),
    help="The schema. Default: the one that the nearest pyproject.toml names.",
)
@click.option(
    "--from",
    "sender",
    metavar="END",
    help="Side that sends the frames: one of the schema's two `ends`.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Show only a capture's connections to this port, where the second of the `ends` listens.",
)
@click.option("--baud", type=int, metavar="RATE", help="Speed to set on a serial port.")
def explain(
    frames: tuple[str, ...],
    schema: Path | None,
    sender: str | None,
    port: int | None,
    baud: int | None,
) -> None:
    """Show the fields of frames, and why a frame is malformed.

    Give the frames in hexadecimal, with or without spaces, or in a FILE; `-` is standard input.

    A FILE contains raw bytes, such as the bytes that one side has sent; or a capture, in pcap or
    pcapng format; or text: hexadecimal, a dump by xxd, hexdump -C, od -t x1, tshark -x or
    Wireshark, or a C array. When FILE is a pipe or a serial port, such as /dev/ttyUSB0, each frame
    is shown as soon as it is complete.

    Without --from, or --port for a capture, either side may have sent each frame. The exit status
    is 1 if a frame is malformed or incomplete, or if a message is out of order.
    """
    from microvm_proto.dump import FORMS, Unreadable
    from microvm_proto.explain import BrokenStream, Foreign
    from microvm_proto.source import SPEEDS

    with _reporting_errors():
        known = _read(schema)
    if sender is not None and sender not in known.ends:
        raise click.UsageError(f"--from must be one of {' and '.join(known.ends)}")
    if baud is not None and baud not in SPEEDS:
        raise click.UsageError(f"--baud must be one of {', '.join(map(str, sorted(SPEEDS)))}")
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A field's unit can contain characters that the encoding of standard output lacks. Print
        # their escapes instead of failing.
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
    # Ctrl+C is the usual way to stop reading from a serial port, so exit without an error message.
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Unreadable as error:
        _fail(f"{name} {error}")
    except BrokenStream as error:
        doubtful = isinstance(error, Foreign) and sender is None and not raw
        _fail(f"{error}; {name} may be in another format: {FORMS}" if doubtful else str(error))


def _explained(
    schema: Schema, pieces: Iterator[bytes], is_raw: bool, sender: str | None, port: int | None
) -> Iterator[str]:
    """Yield lines about the frames in a file, which is given in pieces.

    :param is_raw: True if the file holds the bytes of frames; otherwise its format is detected.
    """
    from microvm_proto.capture import is_capture
    from microvm_proto.conversation import explain_capture
    from microvm_proto.dump import stream_of
    from microvm_proto.explain import explain as explained
    from microvm_proto.source import peek

    colour = sys.stdout.isatty()
    head, file = peek(pieces, 4)
    if not is_raw and is_capture(head):
        return explain_capture(schema, file, sender, port=port, colour=colour)
    if port is not None:
        raise click.UsageError("--port can only be used with a capture")
    head, stream = peek(file if is_raw else stream_of(file), 1)
    if not head:
        _fail("no frames: the input is empty")
    return explained(schema, stream, sender, colour=colour)


@contextmanager
def _source(given: str, baud: int | None) -> Iterator[tuple[Iterator[bytes], bool]]:
    """Context manager that opens `given`, the input of `explain`: a file's name, `-` or hex digits.

    Yield the input's bytes, and True if they are the bytes of frames, and not in another format.
    """
    from microvm_proto.dump import Unreadable, bytes_of
    from microvm_proto.source import ByteSource, opened

    with ExitStack() as stack:
        try:
            source, raw = ByteSource(iter([bytes_of(given)])), True
        except Unreadable as reason:
            try:
                source = stack.enter_context(opened(given, baud))
            except OSError as error:
                if " " in given.strip():
                    _fail(f"{given!a} {reason}")
                _fail(f"{given!a} is not hexadecimal, and not a readable file: {error.strerror}")
            raw = source.serial
        if baud and not source.serial:
            raise click.UsageError("--baud can only be used with a serial port")
        yield _flushing(source.pieces), raw


def _flushing(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield pieces of input, and flush standard output before waiting for each next piece.

    So the frames of a piece are shown at once, and not when more input arrives.
    """
    for piece in pieces:
        yield piece
        sys.stdout.flush()


def _read(path: Path | None) -> Schema:
    return read_schema(path or _configured_schema())


@contextmanager
def _reporting_errors() -> Iterator[None]:
    """Context manager that prints the findings of a `SchemaError`, and exits with status 1."""
    try:
        yield
    except SchemaError as error:
        click.echo(str(error), err=True)
        found = len(error.diagnostics)
        _fail(f"{found} error{'s' if found > 1 else ''} in {_display(error.path)}")


def _configured_schema() -> Path:
    """Return the path of the schema from the nearest pyproject.toml that states one.

    The table is [tool.microvm-proto], and its key `schema` holds the path.
    """
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
        "give a SCHEMA: no pyproject.toml in this folder, or in one above it, names one "
        'with `schema = "…"` in [tool.microvm-proto]'
    )


def _projects(folder: Path) -> list[Path]:
    """Return the pyproject.toml files in the folder and its parents, the nearest one first."""
    projects = (each / "pyproject.toml" for each in (folder, *folder.parents))
    return [project for project in projects if project.is_file()]


def _display(path: Path) -> str:
    """Return a path as text, relative to the working folder if it is inside that folder."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else path)


def _fail(message: str) -> NoReturn:
    click.echo(CONTROL.sub("?", f"microvm-proto: {message}"), err=True)
    sys.exit(1)
