"""Measure the speed of the generated Python codec, protobuf and msgspec with the same messages.

Run it with `make bench-codec`. Encoding converts values to bytes. Decoding converts bytes to values
and reads each value once. The generated codec also processes the frame's header, checks bounds, and
finds the frames in a stream, while protobuf and msgspec process only the message itself. The
program checks that all three decode to equal values.

"encode in parts" returns the head of the frame and the data separately, without copying the data,
as the host does. `plain` is the generated codec in the style `plain`, which has no fast path.

Times are CPU times, so other processes on the machine affect them less.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator
from pathlib import Path
from types import GenericAlias, ModuleType
from typing import Any

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import api_implementation

from microvm.wire import codec
from microvm_proto import backends
from microvm_proto.resolve import read_schema
from microvm_proto.schema import Output
from microvm_proto.types import camel

CHUNK = bytes(range(256)) * 256
ARGV = (b"python3", b"-m", b"pytest", b"-q", b"--maxfail=1", b"tests/host")
ENV = tuple(b"VARIABLE_%d=/usr/local/lib/value-%d" % (at, at) for at in range(20))
VALUES: dict[str, dict[str, Any]] = {
    "exec_output": {"id": 7, "stream": codec.Stream.STDOUT, "data": CHUNK},
    "exec_stdin": {"id": 7, "data": CHUNK},
    "exec_request": {
        "id": 7,
        "command": b"/usr/bin/python3",
        "cwd": b"/root/work",
        "argv": ARGV,
        "env": ENV,
        "stdout_credit": 1 << 20,
        "stderr_credit": 1 << 20,
        "user": b"nobody",
        "stdin_from": codec.StdinKind.HOST,
        "rows": 24,
        "columns": 80,
        "max_processes": 64,
        "max_memory": 1 << 28,
    },
    "exec_response": {"id": 7, "ending": codec.Ending.EXITED, "status": 3},
    "motion": {
        "time_us": 1_700_000_000_000_000,
        "acceleration": (0.25, -0.5, 9.75),
        "rotation": (0.0, 0.125, -0.0625),
        "temperature": 21.5,
        "samples": tuple(range(-800, 800, 100)),
    },
}
HERE = Path(__file__).parent
SCHEMAS = {"motion": HERE / "benchmark.toml"}
"""Schema files of the messages that do not belong to sandboxd."""
SENDERS = {
    "exec_output": "guest",
    "exec_stdin": "host",
    "exec_request": "host",
    "exec_response": "guest",
    "motion": "device",
}
TITLES = {
    "exec_output": "`exec_output`, 64 KiB",
    "exec_stdin": "`exec_stdin`, 64 KiB",
    "exec_request": f"`exec_request`, {len(ARGV)} arguments, {len(ENV)} variables",
    "exec_response": "`exec_response`",
    "motion": "`motion`, 7 floats in 2 arrays and alone, 16 integers in one",
}
Pair = tuple[Callable[[], bytes], Callable[[], tuple[Any, ...]]]


def _codec(name: str, style: str) -> ModuleType:
    """Return the codec module for a message in a style."""
    return _generated(SCHEMAS.get(name, HERE.parent / "protocol/sandboxd.toml"), style)


@functools.cache
def _generated(schema: Path, style: str) -> ModuleType:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{schema.stem}_{style}.py")
        files = backends.find("python")(
            read_schema(schema), Output("python", path, path.stem, style)
        )
        path.write_text(files[path.name])
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportError(path)
        module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def ours(name: str, values: dict[str, Any], style: str = "fast") -> Pair:
    """Return functions that encode and decode a message with the generated codec."""
    codec = _codec(name, style)
    kind = getattr(codec, camel(name))
    arguments = tuple(values.values())
    read = _reader(values)
    frame = kind(*arguments).encode()
    decoder = codec.Decoder(SENDERS[name])

    def decode() -> tuple[Any, ...]:
        decoder.receive_data(frame)
        return read(decoder.next_message())

    return lambda: kind(*arguments).encode(), decode


def in_parts(name: str, values: dict[str, Any], style: str = "fast") -> Callable[[], object]:
    """Return a function that encodes with the generated codec, without copying the data."""
    kind = getattr(_codec(name, style), camel(name))
    arguments = tuple(values.values())
    return lambda: kind(*arguments).encode_parts()


def protobuf(name: str, values: dict[str, Any]) -> Pair:
    """Return functions that encode and decode a message with protobuf, without a `.proto` file."""
    labels = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
    message = file.message_type.add(name=camel(name))
    types = {bytes: labels.TYPE_BYTES, float: labels.TYPE_FLOAT}
    for number, (field, value) in enumerate(values.items(), 1):
        several = isinstance(value, tuple)
        signed = labels.TYPE_SINT32 if several else labels.TYPE_UINT64
        message.field.add(
            name=field,
            number=number,
            label=labels.LABEL_REPEATED if several else labels.LABEL_OPTIONAL,
            type=types.get(type(value[0] if several else value), signed),
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.{camel(name)}"))
    plain = {
        field: list(value) if isinstance(value, tuple) else value for field, value in values.items()
    }
    data = kind(**plain).SerializeToString()
    read = _reader(values)
    return lambda: kind(**plain).SerializeToString(), lambda: read(kind.FromString(data))


def msgpack(name: str, values: dict[str, Any], view: bool = False) -> Pair:
    """Return functions that encode and decode a message with msgspec, as a MessagePack array.

    :param view: True to decode bytes to views of the input, without a copy.
    """
    types: dict[type, Any] = {bytes: memoryview if view else bytes}
    fields = [
        (field, GenericAlias(tuple, (type(value[0]), ...)))
        if isinstance(value, tuple)
        else (field, types.get(type(value), type(value)))
        for field, value in values.items()
    ]
    kind: Any = msgspec.defstruct(camel(name), fields, array_like=True)
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(kind)
    arguments = tuple(values.values())
    data = encoder.encode(kind(*arguments))
    read = _reader(values)
    return lambda: encoder.encode(kind(*arguments)), lambda: read(decoder.decode(data))


TOOLS: dict[str, Callable[[str, dict[str, Any]], Pair]] = {
    "microvm-proto": ours,
    "plain": functools.partial(ours, style="plain"),
    "protobuf": protobuf,
    "msgspec": msgpack,
    "msgspec, views": functools.partial(msgpack, view=True),
}


def measure(rounds: int, seconds: float) -> Iterator[dict[str, Any]]:
    """Measure all tools; yield a row for each message and direction.

    A row contains the median and the quartiles of each tool, in microseconds.

    :param seconds: Approximate duration of each measurement.
    """
    calls: dict[tuple[str, str], dict[str, Callable[[], Any]]] = {}
    for name, values in VALUES.items():
        for tool, pair in TOOLS.items():
            encode, decode = pair(name, values)
            if [_plain(value) for value in decode()] != list(values.values()):
                raise AssertionError(f"{tool} decodes {name} to other values than were encoded")
            calls.setdefault((name, "encode"), {})[tool] = encode
            calls.setdefault((name, "decode"), {})[tool] = decode
        if hasattr(getattr(codec, camel(name), None), "encode_parts"):
            parts = {"microvm-proto": in_parts(name, values)}
            parts["plain"] = in_parts(name, values, "plain")
            calls[name, "encode in parts"] = calls[name, "encode"] | parts
    times: dict[tuple[str, str, str], list[float]] = {}
    for _ in range(rounds):
        for (name, direction), tools in calls.items():
            for tool, call in tools.items():
                number = _repetitions(call, seconds)
                took = timeit.timeit(call, timer=time.process_time, number=number) / number
                times.setdefault((name, direction, tool), []).append(took * 1e6)
    for name, direction in calls:
        row: dict[str, Any] = {"message": name, "direction": direction}
        for tool in TOOLS:
            low, median, high = statistics.quantiles(times[name, direction, tool], n=4)
            row[tool] = {"median_us": median, "quartiles_us": [low, high]}
        yield row


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table with the rows."""
    yield "| µs, median (quartiles) | " + " | ".join(TOOLS) + " |"
    yield "|---" * (len(TOOLS) + 1) + "|"
    for row in rows:
        cells = [f"{row['direction']} {TITLES[row['message']]}"]
        for tool in TOOLS:
            low, high = row[tool]["quartiles_us"]
            cells.append(f"{row[tool]['median_us']:.2f} ({low:.2f} to {high:.2f})")
        yield f"| {' | '.join(cells)} |"


def _reader(values: dict[str, Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that returns the values of all fields of a message."""
    fields = [
        f"tuple(message.{name})" if isinstance(value, tuple) else f"message.{name}"
        for name, value in values.items()
    ]
    reader: Callable[[Any], tuple[Any, ...]] = eval(f"lambda message: ({', '.join(fields)})")  # noqa: S307 - the text comes from this function
    return reader


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


def _repetitions(call: Callable[[], Any], seconds: float) -> int:
    number = 16
    while (took := timeit.timeit(call, timer=time.process_time, number=number)) < seconds / 8:
        number *= 4
    return max(1, round(number * seconds / took))


def main() -> None:
    """Run the measurements and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--rounds", type=int, default=25, help="number of measurements (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.02,
        help="duration of each measurement of each tool (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if api_implementation.Type() != "upb":
        sys.exit(
            "benchmark: protobuf is installed without its C implementation (upb), so the "
            "comparison would be unfair. Install a protobuf wheel for this platform."
        )
    rows = list(measure(options.rounds, options.seconds))
    versions = {name: importlib.metadata.version(name) for name in ("protobuf", "msgspec")}
    versions["python"] = platform.python_version()
    if options.json:
        json.dump({"versions": versions, "rounds": options.rounds, "rows": rows}, sys.stdout)
        print()
    else:
        print("\n".join(table(rows)))
        print("\n" + ", ".join(f"{name} {version}" for name, version in versions.items()))


if __name__ == "__main__":
    main()
