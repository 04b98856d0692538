"""Turns the table `[framing]` of a schema file into a `Framing`."""

from __future__ import annotations

from collections.abc import Collection

from microvm_proto.framing import CHECKS, KINDS, PLAIN, SIZES, Framing
from microvm_proto.load import Document, Table
from microvm_proto.schema import Schema

_TYPES = {"type": ("u16", "u8"), "id": ("u32", "u16", "u8", "none"), "length": ("u32", "u16", "u8")}
"""Types that the fields of a frame's header can have; the first one is the default."""


def framing(root: Table) -> Framing:
    """Read the table `[framing]` of a schema; return the default framing if the table is absent."""
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
        text = f"the header of a `{kind}` frame has no length"
        table.error("bad-framing", "length", text, "remove `length`")
    mtu = table.optional("mtu", int)
    if mtu is not None and mtu < 1:
        table.error("bad-framing", "mtu", "`mtu` must be at least 1", "such as `mtu = 256`")
    result = Framing(
        kind=kind,
        **sizes,
        sequence=table.get("sequence", bool, False),
        check=_choice(table, "check", CHECKS, table.get("check", str, "none")),
        mtu=mtu,
        given=True,
    )
    if result.sequence and not result.resynchronises:
        text = "a stream without `check` cannot lose frames, so it needs no sequence numbers"
        table.error("bad-framing", "sequence", text, "remove `sequence`, or add `check`")
    table.done()
    return result


def _choice(table: Table, key: str, choices: Collection[str], value: str) -> str:
    """Return `value` if it is one of `choices`. Otherwise, record an error and return the first."""
    if value in choices:
        return value
    if key in table.data:
        names = ", ".join(f"`{name}`" for name in choices)
        table.error("bad-framing", key, f"`{key}` cannot be `{value}`", f"write one of {names}")
    return next(iter(choices))


def check_framing(document: Document, schema: Schema) -> None:
    """Record an error for each message that does not fit into a frame of the schema's framing."""
    framing = schema.framing
    for index, message in enumerate(schema.messages):
        path = ("message", index, "name")
        size = framing.wire_size(message.max_body)
        if framing.mtu is not None and size > framing.mtu:
            text = f"a frame of `{message.name}` can have {size} bytes on the wire"
            hint = f"lower the bounds of its fields: `mtu` is {framing.mtu}"
            document.error("mtu-exceeded", path, text, hint)
        longest = (1 << 8 * framing.length) - 1
        if framing.kind == "stream" and message.max_body > longest:
            text = f"the body of `{message.name}` can have {message.max_body} bytes"
            hint = "lower the bounds of its fields, or choose a larger type for `length` in "
            hint += f"[framing]: now, a body has at most {longest} bytes"
            document.error("frame-too-long", path, text, hint)
        if not framing.id and message.id != "none":
            text = "the header has no id"
            hint = 'write `id = "none"`, or choose another type for `id` in [framing]'
            document.error("bad-id", ("message", index, "id"), text, hint)
