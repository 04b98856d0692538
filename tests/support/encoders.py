"""A generated C function that encodes any message of a schema, which the header lacks."""

from __future__ import annotations

from microvm_proto.schema import Message, Schema


def again(schema: Schema) -> str:
    """Return the source of a function that encodes a decoded message again."""
    name = schema.name

    def case(message: Message) -> str:
        arguments = ["out", "room", "version"]
        arguments += ["header->id"] if message.id != "none" else []
        arguments += [f"&body->{message.c_name}"] if message.visible else []
        call = f"{name}_encode_{message.c_name}({', '.join(arguments)})"
        return f"\tcase {name.upper()}_TYPE_{message.c_name.upper()}:\n\t\treturn {call};\n"

    cases = "".join(map(case, schema.messages))
    return (
        f"size_t again(uint8_t *out, size_t room, uint32_t version,\n"
        f"\t\tconst struct {name}_header *header, const union {name}_body *body)\n{{\n"
        f"\t(void)body;\n\tswitch (header->type) {{\n{cases}\t}}\n\treturn 0;\n}}\n"
    )
