"""Generate a Wireshark dissector in Lua: for UDP if frames are datagrams, otherwise for TCP."""

from __future__ import annotations

import re

from microvm_proto.backends.wireshark.cursor import CURSOR
from microvm_proto.backends.wireshark.dissector import DISSECTOR
from microvm_proto.backends.wireshark.tables import (
    header_fields,
    header_shown,
    message,
    names,
    proto_fields,
    string,
    struct,
    table,
)
from microvm_proto.faults import FAULTS
from microvm_proto.schema import Output, Schema
from microvm_proto.variants import variant


def emit(schema: Schema, output: Output) -> dict[str, str]:
    """Generate the Lua file of the dissector."""
    transport = "UDP" if schema.framing.kind == "datagram" else "TCP"
    values = {
        "source": schema.source,
        "file": output.path.name,
        "name": schema.name,
        "filter": filter_name(schema),
        "version": str(schema.version),
        "first": schema.ends[0],
        "second": schema.ends[1],
        "transport": transport,
        "ports": f"{transport.lower()}.port",
        "header_size": str(schema.framing.header_size),
        "check_size": str(schema.framing.check_size),
        "seeds": ", ".join(f"{seed:#x}" for _, seed in schema.seeds),
        "header_fields": header_fields(schema),
        "header_shown": header_shown(schema.framing),
        "prefix_size": str(schema.prefix.size),
        "faults": names((fault.number, fault.name) for fault in FAULTS),
        "codes": table((f.name, f"{{ {f.number}, {string(f.doc)} }}") for f in FAULTS),
        "fields": table(proto_fields(schema)),
        "structs": "".join(map(struct, schema.structs)),
        "messages": "".join(map(message, schema.messages)),
    }
    values |= {each.name: f"header({each.offset}, {each.size})" for each in schema.framing.header}
    values |= {f"{each.name}_at": str(each.offset) for each in schema.framing.header}
    template = variant(DISSECTOR.replace("@cursor@\n", CURSOR.lstrip()), schema.framing)
    text = re.sub("@([a-z_]+)@", lambda match: values[match[1]], template)
    return {output.path.name: text.lstrip("\n")}


def filter_name(schema: Schema) -> str:
    """Return the prefix that the protocol's field names have in Wireshark's filters.

    If the schema's name has a single letter, the prefix is longer, because Wireshark requires that.
    """
    return schema.name if len(schema.name) > 1 else f"{schema.name}_frames"
