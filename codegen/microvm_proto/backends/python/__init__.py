"""Generate a Python codec: one module that does no I/O and needs only the standard library.

In the style `plain`, each message has a table of its fields, and general code interprets these
tables to encode and decode. In the style `fast`, the default, each message also has functions of
its own, which handle valid messages faster. If such a function fails, the table is used.
"""

from __future__ import annotations

from collections.abc import Collection

from microvm_proto.backends import constants
from microvm_proto.backends.python import declare, fast, plain, receiver, runtime
from microvm_proto.backends.python.naming import ids, layout
from microvm_proto.backends.python.shared import Shared, needed
from microvm_proto.digest import wire_digest
from microvm_proto.faults import FAULTS
from microvm_proto.schema import Message, Output, Schema
from microvm_proto.variants import variant

STYLES = ("fast", "plain")


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the Python module that contains the codec."""
    is_fast = output.style != "plain"
    straight = [*map(fast.struct, schema.structs), *map(fast.decode, schema.messages)]
    faults = ((fault.name, fault.number, fault.doc) for fault in FAULTS)
    parts, words = needed(
        [
            declare.named(
                "Fault(enum.IntEnum)", "The reasons for which a frame is rejected.", faults
            ),
            *map(declare.enumerated, schema.enumerated),
            variant(runtime.ERRORS, schema.framing),
            Shared(runtime.TYPE_VARIABLE),
            Shared(runtime.FROZEN),
            *(declare.struct(struct, is_fast=is_fast) for struct in schema.structs),
            plain.zeros(schema),
            *(
                declare.message(message, schema.framing, is_fast=is_fast)
                for message in schema.messages
            ),
            declare.union(schema),
            Shared(runtime.FLAGS),
            plain.tables(schema, fast.formats(schema) if is_fast else ()),
            Shared(receiver.seal(schema)),
            Shared(fast.helpers(schema)),
            *(straight if is_fast else []),
            Shared(plain.helpers(schema)),
            *plain.later_values(schema),
            plain.layouts(schema),
            _rules(schema, is_fast=is_fast),
            receiver.decoder(schema.framing),
        ]
    )
    top = (
        _docstring(schema)
        + _imports({*words, "Mapping"})
        + _constants(schema)
        + constants.declare(schema)
    )
    text = "\n\n\n".join(part.strip("\n") for part in (top, *parts) if part)
    return {output.path.name: text + "\n"}


def _docstring(schema: Schema) -> str:
    return declare.docstring(
        0,
        f"Encode and decode messages of the protocol {schema.name}, version {schema.version}.",
        [
            f"Generated from {schema.source} by `microvm-proto gen`. This module does no I/O. "
            f"{schema.doc}"
        ],
    )


_IMPORTED = {
    "collections.abc": "Callable Mapping Sequence",
    "dataclasses": "KW_ONLY dataclass",
    "functools": "partial",
    "math": "isfinite",
    "typing": "Any ClassVar Generic Never Self TypeAlias TypeVar dataclass_transform",
}


def _imports(words: Collection[str]) -> str:
    lines = [f"import {name}" for name in ("binascii", "enum", "struct") if name in words]
    for module, names in _IMPORTED.items():
        needed = [name for name in names.split() if name in words]
        lines += [f"from {module} import {', '.join(needed)}"] if needed else []
    return "\n\nfrom __future__ import annotations\n\n" + "\n".join(lines) + "\n"


def _constants(schema: Schema) -> str:
    *older, newest = schema.versions
    digests = [f"{version}: 0x{wire_digest(schema.at(version)):016X}" for version in older]
    digests.append(f"{newest}: DIGEST")
    lines = "".join(f"    {digest},\n" for digest in digests)
    framing = schema.framing
    check = f"CHECK_SIZE = {framing.check_size}\n" if framing.resynchronises else ""
    return f"""
VERSION = {schema.version}
DIGEST = 0x{wire_digest(schema):016X}
DIGESTS: Mapping[int, int] = {f"{{{chr(10)}{lines}}}" if older else f"{{{digests[0]}}}"}
HEADER_SIZE = {framing.header_size}
{check}MAX_BODY = {schema.max_body}
END_NAMES = ("{schema.ends[0]}", "{schema.ends[1]}")
"""


def _rules(schema: Schema, *, is_fast: bool) -> str:
    lines = [
        f"    _Rule({message.number}, {version}, {_decoder(message, version, is_fast=is_fast)}, "
        f"{_senders(message)}, {ids(message)}, {message.at(version).max_body}),"
        for message in schema.messages
        for version in message.versions
    ]
    match lines:
        case []:
            lines = ["_RULES: tuple[_Rule, ...] = ()"]
        case [only]:
            lines = [f"_RULES = ({only.strip()})"]
        case _:
            lines = ["_RULES = (", *lines, ")"]
    return runtime.RULE.strip("\n") + "\n\n\n" + "\n".join(lines)


def _senders(message: Message) -> str:
    return "END_NAMES" if message.sender == "both" else f'("{message.sender}",)'


def _decoder(message: Message, version: int, *, is_fast: bool) -> str:
    if version < message.versions[-1]:
        return f"partial({layout(message)}.read, version={version})"
    return f"_decode_{message.python_name}" if is_fast else f"{layout(message)}.read"
