"""The step from the table `[framing]` of a schema file to how frames look."""

from __future__ import annotations

from collections.abc import Collection

from microvm_proto.framing import CHECKS, KINDS, PLAIN, SIZES, Framing
from microvm_proto.load import Document, Table
from microvm_proto.schema import Schema

_TYPES = {"type": ("u16", "u8"), "id": ("u32", "u16", "u8", "none"), "length": ("u32", "u16", "u8")}
"""The types of the header's fields, the default first."""


def framing(root: Table) -> Framing:
    """Take the table `[framing]`, which may be absent."""
    if "framing" not in root.data:
        root.known_keys.append("framing")
        return PLAIN
    table = root.table("framing")
    kind = _choice(table, "kind", KINDS, table.require("kind", str))
    sizes = {
        key: SIZES[_choice(table, key, names, table.get(key, str, names[0]))]
        for key, names in _TYPES.items()
    }
    if kind != "stream" and "length" in table.data:
        text = f"frames of the kind `{kind}` have no length in their header"
        table.error("bad-framing", "length", text, "leave it out")
    mtu = table.optional("mtu", int)
    if mtu is not None and mtu < 1:
        table.error("bad-framing", "mtu", "a frame has at least one byte", "such as `mtu = 256`")
    result = Framing(
        kind=kind,
        **sizes,
        sequence=table.get("sequence", bool, False),
        check=_choice(table, "check", CHECKS, table.get("check", str, "none")),
        mtu=mtu,
        given=True,
    )
    if result.sequence and not result.resynchronises:
        text = "no frame is missing from a stream that ends with the first bad one"
        table.error("bad-framing", "sequence", text, "leave it out, or add `check`")
    table.done()
    return result


def _choice(table: Table, key: str, choices: Collection[str], value: str) -> str:
    """Return a value that is one of the choices; another is noted."""
    if value in choices:
        return value
    if key in table.data:
        names = ", ".join(f"`{name}`" for name in choices)
        table.error("bad-framing", key, f"`{key}` cannot be `{value}`", f"one of {names}")
    return next(iter(choices))


def check_framing(document: Document, schema: Schema) -> None:
    """Note every message that does not fit the frames."""
    framing = schema.framing
    for at, message in enumerate(schema.messages):
        there = ("message", at, "name")
        size = framing.wire_size(message.max_body)
        if framing.mtu is not None and size > framing.mtu:
            text = f"the longest frame of `{message.name}` has {size} bytes on the wire"
            hint = f"lower its bounds: `mtu` is {framing.mtu}"
            document.error("mtu-exceeded", there, text, hint)
        longest = (1 << 8 * framing.length) - 1
        if framing.kind == "stream" and message.max_body > longest:
            text = f"the body of `{message.name}` can be {message.max_body} bytes"
            hint = f"lower its bounds, or widen `length` in [framing]: it goes to {longest}"
            document.error("frame-too-long", there, text, hint)
        if not framing.id and message.id != "none":
            text = "the header has no id"
            hint = 'write `id = "none"`, or widen `id` in [framing]'
            document.error("bad-id", ("message", at, "id"), text, hint)
